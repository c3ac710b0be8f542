"""One of the three variables: where it stands, the state of its strategy, and the graph it is mixed on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from graftwork import GraftworkError
from graftwork_decentral.communication import Communicator
from graftwork_decentral.strategies import Strategy
from graftwork_decentral.strategies.form import Form
from graftwork_decentral.strategies.triple import TripleForm

Track = Literal["scaled", "raw"]


class Level:
    """One variable.

    Args:
        name: ``lower``, ``auxiliary`` or ``upper``.
        start: ``[variables]``, the same for all agents.
        strategy: how it is brought together.
        communicator: on this level's graph.
        track: ``scaled`` multiplies a direction by the step before the strategy remembers it, which keeps a
            strategy's forms equal under a schedule; ``raw`` afterwards, as gradient tracking is classically
            written.

    Raises:
        GraftworkError: the strategy does not converge on this graph.
    """

    def __init__(
        self, name: str, start: Tensor, strategy: Strategy, communicator: Communicator, track: Track
    ) -> None:
        strategy.validate(communicator.graphs)
        self.name = name
        self.strategy = strategy
        self.communicator = communicator
        self.track: Track = track
        self.point = start.detach().expand(len(communicator.rows), -1).clone()
        self.form: Form = strategy.start(self.point)

    def moved(self, direction: Tensor, size: float, step: int) -> Tensor:
        """Return the point after the local move; a strategy that mixes its tracker first does so here."""
        exchange = self.communicator.at(step)
        if self.track == "scaled":
            return self.point - self.form.prepare(size * direction, exchange)
        return self.point - size * self.form.prepare(direction, exchange)

    def advance(self, direction: Tensor, size: float, step: int) -> None:
        """Move and mix, in rounds of its own."""
        moved = self.moved(direction, size, step)
        self.point = self.form.combine(self.point, moved, self.communicator.at(step))

    @property
    def can_share_a_round(self) -> bool:
        """Whether it sends everything once the local move is made."""
        return not isinstance(self.form, TripleForm)

    def state_dict(self) -> dict[str, Tensor | str | dict[str, Tensor]]:
        """The point, the form's tensors, and what they only hold for."""
        return {
            "point": self.point.clone(),
            "strategy": self.strategy.name,
            "graph": self.communicator.graphs.digest,
            "form": {name: tensor.clone() for name, tensor in self.form.state().items()},
        }

    def load_state_dict(self, state: dict[str, Tensor | str | dict[str, Tensor]]) -> None:
        """Go on from a saved state.

        Raises:
            GraftworkError: it is of another strategy, graph or size.
        """
        for what, mine in (("strategy", self.strategy.name), ("graph", self.communicator.graphs.digest)):
            if state[what] != mine:
                raise GraftworkError(
                    f"the state's {self.name} level has the {what} {state[what]!r} and this run has "
                    f"{mine!r}; go on with the {what} that the state was saved with"
                )
        point, form = state["point"], state["form"]
        assert isinstance(point, Tensor)
        assert isinstance(form, dict)
        if point.shape != self.point.shape:
            raise GraftworkError(
                f"the state's {self.name} level is {list(point.shape)} [agents here, variables], and here it "
                f"must be {list(self.point.shape)}; start as many processes as when it was saved"
            )
        self.point = point.to(self.point).clone()
        for name, tensor in self.form.state().items():
            tensor.copy_(form[name])


def advance_together(levels: Sequence[Level], moved: Sequence[Tensor], step: int) -> None:
    """Mix several levels, those on one graph in one round.

    Args:
        levels: all moved from the same point.
        moved: their points after the local move, in the same order.
        step: whose graphs are used.
    """
    waiting = list(zip(levels, moved, strict=True))
    while waiting:
        communicator = waiting[0][0].communicator
        fused = [
            pair for pair in waiting if pair[0].communicator is communicator and pair[0].can_share_a_round
        ]
        if not fused:
            level, after = waiting.pop(0)
            level.point = level.form.combine(level.point, after, communicator.at(step))
            continue
        waiting = [pair for pair in waiting if not any(pair[0] is level for level, _ in fused)]
        sent = {level.name: level.form.outgoing(level.point, after) for level, after in fused}
        mixed = communicator.exchange(
            {f"{name}.{key}": tensor for name, parts in sent.items() for key, tensor in parts.items()}, step
        )
        for level, after in fused:
            own = {key: mixed[f"{level.name}.{key}"] for key in sent[level.name]}
            level.point = level.form.incoming(level.point, after, own)


def starting_points(sizes: Sequence[int], starts: Sequence[Tensor | None], like: Tensor) -> list[Tensor]:
    """Return a start for every variable, zeros where none is given.

    Args:
        sizes: of the variables.
        starts: ``[variables]`` each.
        like: whose dtype and device they get.

    Raises:
        ValueError: a start has another size.
    """
    points = []
    for size, start in zip(sizes, starts, strict=True):
        if start is not None and start.shape != (size,):
            raise ValueError(f"a start must be [{size}], the same for all agents, got {list(start.shape)}")
        points.append(torch.zeros(size).to(like) if start is None else start.detach().to(like))
    return points
