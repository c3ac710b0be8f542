"""Any optimizer as the local move of a decentralized strategy.

``inner.step()`` takes an agent from x to s(x); the strategy brings the agents together (notation of
:mod:`graftwork_decentral.strategies`, arXiv:2411.14166)::

    diffusion         x+ = mix(s(x))
    consensus         x+ = mix(x) + (s(x) - x)
    exact diffusion   u = s(x) - D;   x+ = mix(u);   D+ = D + (u - x+)
    EXTRA             x+ = mix(x) + (s(x) - x) - D;  D+ = D + (x+ - mix(x+))
    tracking          the tracker of the mean gradient stands in ``.grad``;   x+ = mix(s(x))

Nothing hooks into the backward pass: accumulation, clipping, autocast and closures are as without it. Of an
optimizer that keeps movement beside its weights for some steps and writes it in ``merge()``, s(x) is with it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from graftwork import GraftworkError
from graftwork_decentral.agents.bank import AgentBank
from graftwork_decentral.agents.linearity import moves_linearly, parameters_of
from graftwork_decentral.agents.packing import pack, unpack
from graftwork_decentral.agents.untrained import untrained_digest
from graftwork_decentral.communication.communicator import Communicator
from graftwork_decentral.communication.lost import MembershipChanged
from graftwork_decentral.communication.stacked import StackedCommunicator
from graftwork_decentral.strategies.exact_diffusion import ExactDiffusionForm
from graftwork_decentral.strategies.form import Exchange, Form
from graftwork_decentral.strategies.strategy import Strategy

Closure = Callable[[], Any]
Unsuited = Literal["refuse", "warn"]
T = TypeVar("T")


class DecentralizedOptimizer(torch.optim.Optimizer):
    """One optimizer for the agents of this process, and the exchange with all others.

    Args:
        bank: the agents' models.
        inner: makes the optimizer of one agent from its model, ``lambda model: SGD(model.parameters(), 0.1)``
            for instance; it must train all that requires a gradient.
        strategy: how agents are brought together.
        communicator: exchanges with neighbours; its rows are the bank's agents.
        unsuited: what to do about exact diffusion or EXTRA around an optimizer whose moves are not linear in
            the gradients, where they correct nothing: refuse or warn.

    Raises:
        GraftworkError: the strategy diverges on the communicator's graphs, or does not go with the inner
            optimizer, or processes have models that are not alike.
        ValueError: the bank has not as many agents as the communicator has rows.

    >>> from graftwork_decentral import StackedCommunicator, diffusion, ring
    >>> bank = AgentBank([nn.Linear(3, 1) for _ in range(4)])
    >>> optimizer = DecentralizedOptimizer(
    ...     bank, lambda model: torch.optim.SGD(model.parameters(), lr=0.1), diffusion(),
    ...     StackedCommunicator(ring(4)),
    ... )
    >>> for model in bank.models:
    ...     model(torch.randn(8, 3)).square().mean().backward()
    >>> optimizer.step()
    >>> optimizer.communicator.traffic.rounds
    1
    """

    def __init__(
        self,
        bank: AgentBank,
        inner: Callable[[nn.Module], torch.optim.Optimizer],
        strategy: Strategy,
        communicator: Communicator,
        *,
        unsuited: Unsuited = "refuse",
    ) -> None:
        if len(bank) != len(communicator.rows):
            raise ValueError(
                f"bank must hold the {len(communicator.rows)} agents of the communicator's rows "
                f"{communicator.rows.start}..{communicator.rows.stop - 1}, got {len(bank)}"
            )
        strategy.validate(communicator.graphs)
        if len(bank) < communicator.agents and not communicator.is_common(untrained_digest(bank.models[0])):
            raise GraftworkError(
                "the processes' models differ in names, shapes or what they do not train (frozen parameters, "
                "buffers), which is never mixed; build them alike (one seed, one file) in every process"
            )
        self.bank, self.strategy, self.communicator = bank, strategy, communicator
        self.inners = [inner(model) for model in bank.models]
        self.closure: Literal["loss", "gradient"] | None = getattr(self.inners[0], "closure", None)
        self._check_pairing(unsuited)
        self.forms: list[Form] = [strategy.start(segment.weights) for segment in bank.segments]
        self.rounds = 0
        self._alone = communicator.agents == 1
        communicator.on_membership_change.append(self._mend)
        super().__init__([{"params": list(bank.models[0].parameters())}], {})
        self._link()

    def _link(self) -> None:
        # The very groups of the inner optimizers: a scheduler that sets a rate here sets it there.
        self.param_groups = [group for inner in self.inners for group in inner.param_groups]

    @property
    def state(self) -> Any:
        """What the inner optimizers hold, the very entries; the strategy's tensors are in
        :meth:`state_dict`."""
        return {key: entry for inner in self.inners for key, entry in inner.state.items()}

    @state.setter
    def state(self, value: Any) -> None:
        """Take nothing: torch's constructor sets an empty one, and ours is kept where it arises."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Refuse: what agents mix is fixed when the bank is made."""
        if hasattr(self, "param_groups") and self.param_groups:
            raise GraftworkError(
                "DecentralizedOptimizer takes no further parameter groups: put them into the models before "
                "the AgentBank is made"
            )
        super().add_param_group(param_group)

    def step(self, closure: Closure | Sequence[Closure] | None = None) -> Any:
        """Move every agent here, then exchange.

        Args:
            closure: for inner optimizers that need one: a function for each agent here, or one alone where
                there is one agent.

        Returns:
            What the inner optimizers returned, a list; of one agent alone, what its own returned; None
            without a closure.
        """
        if self._alone:
            self.rounds += 1
            only = closure[0] if isinstance(closure, Sequence) else closure
            return self._move(self.inners[0], only)
        closures = closure if isinstance(closure, Sequence) else [closure] * len(self.inners)
        if closure is not None and len(closures) != len(self.inners):
            raise ValueError(
                f"closure must be one for each of {len(self.inners)} agents, got {len(closures)}"
            )
        if callable(closure) and len(self.inners) > 1:
            raise ValueError(
                f"closure must be a sequence, one for each of {len(self.inners)} agents, got one"
            )
        gradients = self._gradients()
        if not any(form.exchanges_first for form in self.forms):
            points, returned = self._prepare_and_move(gradients, closures)
            self._until_it_succeeds(lambda: self._exchange(points))
        else:
            start = [segment.weights.clone() for segment in self.bank.segments]

            def whole_step() -> list[Any]:
                self._put(start)
                points, returned = self._prepare_and_move(gradients, closures)
                self._exchange(points)
                return returned

            returned = self._until_it_succeeds(whole_step)
        self.rounds += 1
        if closure is None:
            return None
        return returned if len(returned) > 1 else returned[0]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of all agents here."""
        for inner in self.inners:
            inner.zero_grad(set_to_none)

    def eval(self) -> None:
        """Have inner optimizers that evaluate at other weights put them in place."""
        for inner in self.inners:
            if hasattr(inner, "eval"):
                inner.eval()

    def train(self) -> None:
        """Undo :meth:`eval`."""
        for inner in self.inners:
            if hasattr(inner, "train"):
                inner.train()

    def state_dict(self) -> dict[str, Any]:
        """The inner optimizers' state dicts as one, with the strategy's tensors beside each parameter's
        state."""
        return pack(
            {
                agent: inner.state_dict()
                for agent, inner in zip(self.communicator.rows, self.inners, strict=True)
            },
            [
                [self._strategy_state(agent)[parameter] for parameter in parameters_of(inner)]
                for agent, inner in enumerate(self.inners)
            ],
        )

    @torch.no_grad()
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take up what :meth:`state_dict` gave, for the same number of agents in this process.

        Raises:
            GraftworkError: it is of another strategy, or of another number of agents or parameters.
        """
        counts = [[len(group["params"]) for group in inner.param_groups] for inner in self.inners]
        inner_states, strategy_states = unpack(state_dict, self.communicator.rows, counts)
        for agent, inner in enumerate(self.inners):
            inner.load_state_dict(inner_states[agent])
            views = self._strategy_state(agent)
            for parameter, saved in zip(parameters_of(inner), strategy_states[agent], strict=True):
                if saved.keys() != views[parameter].keys():
                    raise GraftworkError(
                        f"the saved state is of another strategy than {self.strategy.name!r}: it holds "
                        f"{sorted(saved) or 'nothing'} and {sorted(views[parameter]) or 'nothing'} is needed"
                    )
                for name, value in saved.items():
                    if name == _ROUNDS:
                        self.rounds = int(value)
                    else:
                        views[parameter][name].copy_(value)
        self._link()

    def _move(self, inner: Any, closure: Closure | None) -> Any:
        returned = inner.step() if closure is None else inner.step(closure)
        if hasattr(inner, "merge"):
            # Agents mix what is in their weights: what an optimizer keeps beside them (LOZO) is written in.
            inner.merge()
        return returned

    def _until_it_succeeds(self, rounds: Callable[[], T]) -> T:
        """Exchange, and again with those who are left, or have come, where membership changes meanwhile.

        Nothing has changed where an exchange fails, so that the agents' moves are not lost with it. Where the
        first exchange comes before the move, the move is made again, and momentum has it twice.
        """
        while True:
            try:
                return rounds()
            except MembershipChanged as change:
                # Others may have been a step further.
                self.rounds = change.step

    @torch.no_grad()
    def _mend(self, change: MembershipChanged) -> None:
        """Give agents that came back the mean of the others, and let corrections sum to what they should."""
        for segment, form in zip(self.bank.segments, self.forms, strict=True):
            if change.joined:
                segment.weights.copy_(self.communicator.adopted(segment.weights, change.joined))
            form.after_membership_change(self.communicator.mean)

    @torch.no_grad()
    def _gradients(self) -> list[Tensor]:
        return [segment.gradients() for segment in self.bank.segments] if self.strategy.tracks else []

    def _prepare_and_move(
        self, gradients: Sequence[Tensor], closures: Sequence[Closure | None]
    ) -> tuple[list[Tensor], list[Any]]:
        """Return the points before the move, where they are looked at, and what the optimizers returned."""
        with torch.no_grad():
            for index, gradient in enumerate(gradients):
                tracker = self.forms[index].prepare(gradient, self._exchange_of(index))
                self.bank.segments[index].set_gradients(tracker)
            points = [
                segment.weights.clone() if form.reads_point else segment.weights
                for segment, form in zip(self.bank.segments, self.forms, strict=True)
            ]
        return points, [self._move(inner, one) for inner, one in zip(self.inners, closures, strict=True)]

    @torch.no_grad()
    def _exchange(self, points: Sequence[Tensor]) -> None:
        communicator = self.communicator
        # Not bit for bit what several processes do, and so only where the fastest way was asked for.
        if (
            isinstance(communicator, StackedCommunicator)
            and communicator.path == "auto"
            and all(type(form) is ExactDiffusionForm for form in self.forms)
        ):
            for segment, form in zip(self.bank.segments, self.forms, strict=True):
                communicator.exact_diffusion(segment.weights, form.state()["correction"], self.rounds)
            return
        combined = [
            form.combine(point, segment.weights, self._exchange_of(index))
            for index, (segment, form, point) in enumerate(
                zip(self.bank.segments, self.forms, points, strict=True)
            )
        ]
        self._put(combined)

    @torch.no_grad()
    def _put(self, weights: Sequence[Tensor]) -> None:
        for segment, values in zip(self.bank.segments, weights, strict=True):
            segment.weights.copy_(values)

    def _exchange_of(self, index: int) -> Exchange:
        """The rounds of one segment at this step; payloads of several are kept apart by name."""
        exchange = self.communicator.at(self.rounds)
        return exchange if len(self.forms) == 1 else _named(exchange, index)

    def _strategy_state(self, agent: int) -> dict[Any, dict[str, Tensor]]:
        """For every parameter of an agent the strategy's tensors, as views, and once an agent the rounds."""
        views: dict[Any, dict[str, Tensor]] = {}
        for segment, form in zip(self.bank.segments, self.forms, strict=True):
            for slot, parameter in zip(segment.slots, segment.parameters[agent], strict=True):
                views[parameter] = {
                    f"strategy.{name}": slot.view(buffer[agent]) for name, buffer in form.state().items()
                }
        first = next(iter(views))
        views[first][_ROUNDS] = torch.tensor(self.rounds)
        return views

    def _check_pairing(self, unsuited: Unsuited) -> None:
        for agent, (inner, model) in enumerate(zip(self.inners, self.bank.models, strict=True)):
            trained = {id(p) for p in model.parameters() if p.requires_grad}
            if trained != {id(p) for p in parameters_of(inner)}:
                raise GraftworkError(
                    f"the inner optimizer of agent {agent} must train all parameters of its model that "
                    "require a gradient and no others; freeze the rest (requires_grad = False) before the "
                    "AgentBank is made"
                )
            if any(group.get("additive") for group in inner.param_groups):
                raise GraftworkError(
                    f"additive must be False of the {type(inner).__name__} of agents: it would never write "
                    "its movement into the weights, and these are what agents mix"
                )
            if getattr(inner, "log", None) is not None:
                raise GraftworkError(
                    f"log_file must be none of the {type(inner).__name__} of agents: from its start and its "
                    "log a run is replayed that no agents have mixed"
                )
        kind = type(self.inners[0]).__name__
        if self.strategy.tracks and self.closure is not None:
            raise GraftworkError(
                f"strategy {self.strategy.name!r} replaces gradients by their tracker, and {kind} computes "
                f"its own in a closure ({self.closure}); choose diffusion or consensus"
            )
        corrects_moves = self.strategy.corrects_heterogeneity and not self.strategy.tracks
        if self.communicator.agents > 1 and corrects_moves and not moves_linearly(self.inners[0]):
            problem = (
                f"strategy {self.strategy.name!r} around {kind} corrects nothing: {kind}'s moves are not "
                "linear in the gradients, and agents with different data end as far from the minimizer as "
                "without a correction; choose gt-atc or gt-semi-atc, which hand it the tracked mean gradient"
            )
            if unsuited == "refuse":
                raise GraftworkError(
                    f"{problem}, or unsuited = 'warn' (trainer.unsuited) to train like this all the same"
                )
            warnings.warn(problem, stacklevel=3)


_ROUNDS = "strategy.rounds"


def _named(exchange: Exchange, index: int) -> Exchange:
    """Keep the payloads of several segments apart by name."""

    def round_of_segment(payloads: Mapping[str, Tensor]) -> dict[str, Tensor]:
        mixed = exchange({f"{name}.{index}": value for name, value in payloads.items()})
        return {name: mixed[f"{name}.{index}"] for name in payloads}

    return round_of_segment
