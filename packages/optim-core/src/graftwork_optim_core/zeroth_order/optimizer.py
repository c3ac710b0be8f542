"""The optimizer that the zeroth-order methods share.

One step at the weights X_t, with ``direction`` U V^T of a matrix or z of a vector (arXiv:2410.07698,
Algorithms 1 and 2; arXiv:2305.17333, Algorithm 1):

1. every ``interval`` steps V is drawn anew; momentum N becomes ``N (V_old^T V_new) / columns``.
2. U and z are drawn.
3. ``c = (F(X + eps direction) - F(X - eps direction)) / (2 eps)``, one number for all weights.
4. ``N <- beta N + (1 - beta) c U``, at a weight's first step ``N = c U``; without momentum ``N = c U``.
5. ``X <- (1 - lr weight_decay) X - lr N V^T / rank``; for a vector ``N`` itself instead of ``N V^T / rank``.

With several probes 2 and 3 are repeated and ``c U`` is their mean. Where F is linear, step 3 is exact for
every eps; where it is cubic its error falls with the square of eps.

Longer than other files here: what torch.optim.Optimizer promises is kept by one class.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT

from graftwork_optim_core.common.loading import State, check_fits, copy_loaded, load_checked, merged_groups
from graftwork_optim_core.common.optimizer import CountingOptimizer
from graftwork_optim_core.common.random_state import RandomState
from graftwork_optim_core.common.ranges import require_one_of, require_whole
from graftwork_optim_core.common.state_dict_hook import StateDictHooks
from graftwork_optim_core.zeroth_order.evaluation import Evaluation, Loss
from graftwork_optim_core.zeroth_order.in_place import ProbeKey
from graftwork_optim_core.zeroth_order.log import RunFacts, RunLog
from graftwork_optim_core.zeroth_order.options import check_options, check_shared
from graftwork_optim_core.zeroth_order.ranks import Ranks
from graftwork_optim_core.zeroth_order.selection import named_groups
from graftwork_optim_core.zeroth_order.update import update
from graftwork_optim_core.zeroth_order.weights import Weights

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

Backend = Literal["auto", "inplace", "sidepath", "dual"]
DataParallel = Literal["none", "average", "probes"]


class ZerothOrderOptimizer(CountingOptimizer):
    """Moves along random directions by the slopes of the loss along them.

    ``step`` needs a closure that returns the loss of one batch at the current weights, a tensor of one
    element or a number: no backward pass, no ``zero_grad``. It is called twice a probe, without gradients,
    each time with the same states of torch's generators, and must be a function of the weights alone; it may
    average over micro-batches, and the loss need not be differentiable. ``.grad`` is neither read nor
    written.

    Where the difference of the two losses is not finite the weights stay and the step is counted
    (:meth:`nonfinite_skips`); decay and the drawing of random numbers go on. In place the weights have been
    moved there and back by then, and may differ in last bits.

    The backends compute the same. ``inplace`` writes the weights three times a step and suits every module;
    ``sidepath`` leaves them alone and adds the perturbation beside every use of them, so that they are
    written once in ``interval`` steps; ``dual`` does so for both losses in one pass over a batch of twice the
    size and needs :meth:`attach`. With the latter two the movement since the last refresh lies beside the
    weights: call :meth:`eval` before the model is evaluated, or its state dict taken for other uses than to
    go on, and :meth:`train` after that, and :meth:`merge` before its weights are exported. Weights used by
    functions that have no side path are perturbed in place.

    Args:
        params: parameters, named parameters or groups of either. Random numbers follow the names; of unnamed
            parameters the order counts.
        lr: learning rate, 0 or more; a tensor of one element is read at every step.
        rank: columns of the factors U and V, 1 or more; of 0 every direction has its weight's own shape.
        interval: steps between two V, 1 or more.
        eps: how far the weights are perturbed, greater than 0.
        momentum: beta, in [0, 1).
        weight_decay: decoupled decay per unit of lr, 0 or more.
        scale: "paper" divides the update of matrices by the rank; "reference" does not, as the published
            code.
        probes: directions a step, 1 to 255.
        backend: "inplace", "sidepath", "dual" or "auto": sidepath for half-precision and additive weights,
            dual for batches of few tokens, and sidepath otherwise, where none of these is kept from it.
        seed: of all random numbers, from 0 below 2**64.
        accumulate_dtype: least precision of movement and momentum.
        additive: never write the weights; their movement stays beside them, in one V for the whole run. For
            quantized weights, which may be frozen.
        maximize: climb instead of descend.
        stochastic_rounding: round movement at random where it is written into bfloat16 matrices, so that
            small movement is kept on average.
        data_parallel: "average": all processes draw the same directions, each evaluates its own batch, and
            the mean of the difference of the losses is all they exchange. "probes": all evaluate the same
            batch, each with directions of its own. None is "none".
        check_every: steps between checks that all processes hold the same weights; 0 never checks.
        log_file: file to which every step appends its slopes, four bytes each; see
            :class:`~graftwork_optim_core.zeroth_order.log.RunLog`.

    Raises:
        ValueError: an option is out of its range, or a weight cannot be perturbed.

    >>> weight = nn.Parameter(torch.zeros(16, 12))
    >>> optimizer = ZerothOrderOptimizer([weight], lr=0.1, rank=2)
    >>> loss = optimizer.step(lambda: (weight - 1).square().mean())
    >>> bool(weight.count_nonzero()), weight.grad
    (True, None)
    """

    closure: Literal["loss"] = "loss"
    own_notes: ClassVar[tuple[str, ...]] = ("pending_decay", "chosen_backend")
    select_parameters = staticmethod(named_groups)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-6,
        *,
        rank: int = 2,
        interval: int = 50,
        eps: float = 1e-3,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        scale: Literal["paper", "reference"] = "paper",
        probes: int = 1,
        backend: Backend = "auto",
        seed: int = 0,
        accumulate_dtype: Literal["float32", "float64"] = "float32",
        additive: bool = False,
        maximize: bool = False,
        stochastic_rounding: bool = True,
        data_parallel: DataParallel | None = None,
        check_every: int = 0,
        log_file: Path | None = None,
    ) -> None:
        self._weights: Weights | None = None
        self._evaluation: Evaluation | None = None
        self._root: nn.Module | None = None
        self._viewing: Any = None
        self._hooks = StateDictHooks()
        self.accumulate_dtype = accumulate_dtype
        self.data_parallel: DataParallel = data_parallel or "none"
        self.process_group: ProcessGroup | None = None
        self.check_every = check_every
        self.log: RunLog | None = None
        require_one_of("accumulate_dtype", accumulate_dtype, ("float32", "float64"))
        require_one_of("data_parallel", self.data_parallel, ("none", "average", "probes"))
        require_whole("check_every", check_every, 0)
        defaults = {
            "lr": lr,
            "rank": rank,
            "interval": interval,
            "eps": eps,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "scale": scale,
            "probes": probes,
            "backend": backend,
            "seed": seed,
            "additive": additive,
            "maximize": maximize,
            "stochastic_rounding": stochastic_rounding,
            "pending_decay": 1.0,
            "chosen_backend": "",
        }
        check_options(defaults)
        super().__init__(params, defaults)
        if log_file is not None:
            self.log = RunLog(Path(log_file), self._facts)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group and make its state; its momentum starts at its own first step.

        Raises:
            ValueError: an option is out of its range or another than in the other groups, or a weight cannot
                be perturbed.
        """
        super().add_param_group(param_group)
        try:
            check_options(self.param_groups[-1])
            check_shared(self.param_groups)
            self._bind()
        except Exception:
            self.param_groups.pop()
            raise
        self._followed.remember(self.param_groups)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Check a group's options.

        Raises:
            ValueError: one is out of its range; the message states the range and the value.
        """
        check_options(options)

    def _check_together(self, groups: Sequence[Mapping[str, Any]]) -> None:
        check_shared(groups)

    def _fixed_options(self, group: Mapping[str, Any]) -> Collection[str]:
        return ("rank", "backend", "additive")

    def _fit_states(self, changes: Mapping[int, Collection[str]]) -> None:
        changed: set[str] = set().union(*changes.values())
        if self.log is not None:
            self.log.check_recorded(changed)
        switched = any(
            (self._followed.before(self.param_groups[index])["momentum"] > 0)
            != (self.param_groups[index]["momentum"] > 0)
            for index in changes
        )
        # What is held beside the weights, and by what factor they move, is laid out for all in advance.
        if switched or "scale" in changed or self._weights_were_cast():
            self._bind()

    def _bind(self, states: State | None = None) -> None:
        """Lay all state out anew, with the values that it had or with those given."""
        step = self._weights.step if self._weights is not None else 0
        known = self.state if states is None else states
        weights = self._weights_of(self.param_groups)
        fresh = dict(weights.states())
        new = [site.group for site in fresh if not known.get(site.parameter)]
        if new:
            weights.draw_rights(self._shared("seed"), step // self._shared("interval"), new)
        for site, state in fresh.items():
            saved = known.get(site.parameter)
            if saved:
                copy_loaded({key: saved.get(key, value) for key, value in state.items()}, state)
            self.state[site.parameter] = state
            self._note_made(site.parameter)
        self._weights = weights
        self._forget_evaluation()

    def _weights_of(self, groups: Sequence[dict[str, Any]]) -> Weights:
        keeps_moved = groups[0]["backend"] != "inplace"
        return Weights(groups, getattr(torch, self.accumulate_dtype), keeps_moved=keeps_moved)

    def _forget_evaluation(self) -> None:
        if self._evaluation is not None:
            self._evaluation.close()
        self._evaluation = None

    @property
    def weights(self) -> Weights:
        """What is held for the weights."""
        if self._weights is None:
            self._bind()
        assert self._weights is not None
        return self._weights

    @property
    def evaluation(self) -> Evaluation:
        """How the losses are evaluated."""
        if self._evaluation is None:
            self._evaluation = Evaluation(
                self.weights, self._shared("backend"), self._root, self._shared("chosen_backend")
            )
        return self._evaluation

    @property
    def ranks(self) -> Ranks:
        """The processes that take part."""
        return Ranks(self.data_parallel, self.process_group)

    def _facts(self) -> RunFacts:
        name = type(self).__name__
        return RunFacts(name, self.param_groups, self.accumulate_dtype, self.evaluation, self.ranks)

    def attach(self, model: nn.Module) -> None:
        """Name the module that the closure calls: for ``dual``, for ``fully_shard``, for quantized modules,
        and for its state dict.

        The state dict of the module, and of each within it, then says once where it is taken in training
        while movement lies beside the weights: it holds them as they are, which belong with the state dict of
        the optimizer. Between :meth:`eval` and :meth:`train` it holds them with all their movement. Pickles
        of the module (``torch.save(model)``) need nothing of this package.
        """
        self._forget_evaluation()
        self._root = model
        self._hooks.move_to(model, self)

    def trains_elsewhere(self) -> bool:
        """Whether movement lies beside weights at this moment."""
        decayed = any(group["pending_decay"] != 1.0 and not group["additive"] for group in self.param_groups)
        return self._viewing is None and (self.weights.elsewhere or (decayed and not self._writes_all()))

    def _writes_all(self) -> bool:
        return all(len(self.evaluation.in_place(pool)) == len(pool.sites) for pool in self.weights.pools)

    def _rounding(self) -> tuple[int, int] | None:
        return (self._shared("seed"), self.weights.step) if self._shared("stochastic_rounding") else None

    @torch.no_grad()
    def step(self, closure: Loss | None = None) -> Tensor:  # type: ignore[override]
        """Make one step.

        Args:
            closure: returns the loss at the current weights; see the class.

        Returns:
            The mean of the losses at the two ends, over probes, of this process's batch; on the device, and
            not waited for.

        Raises:
            RuntimeError: there is no closure, or :meth:`eval` was called and not :meth:`train`.
            ValueError: the closure returned no single number, or the backend is not possible for the model.
            GraftworkError: processes hold different weights.
        """
        if closure is None:
            raise RuntimeError(
                f"{type(self).__name__}.step needs a closure that returns the loss at the current weights, "
                "without a backward pass: optimizer.step(lambda: loss(model(batch)))"
            )
        if self._viewing is not None:
            raise RuntimeError(f"call {type(self).__name__}.train() before step(); eval() was called")
        self._follow_groups()
        weights, evaluation, step = self.weights, self.evaluation, self.weights.step
        start = RandomState.capture(evaluation.device)
        if not evaluation.recorded:
            evaluation.record(closure, start)
            for group in self.param_groups:
                group["chosen_backend"] = evaluation.backend
        self._refresh(step)
        ranks, probes, eps = self.ranks, self._shared("probes"), self._shared("eps")
        first_probe = ranks.rank * probes if ranks.mode == "probes" else 0
        total = probes * (ranks.size if ranks.mode == "probes" else 1)
        own = range(first_probe, first_probe + probes)
        slopes, losses = [], []
        # Weights perturbed in place are rounded on the way: to stay equal in all processes they go every
        # process's way.
        for probe in range(total) if evaluation.writes else own:
            key = self._draw(step, probe)
            if probe not in own:
                evaluation.walk(key, eps, back=True)
                continue
            plus, minus = evaluation.losses(closure, key, eps, start)
            # The next probe draws other numbers: what these have moved is undone before.
            if total > 1:
                evaluation.shift(-evaluation.offset, key, eps)
            slopes.append((plus - minus) / (2 * eps))
            losses.append((plus + minus) / 2)
        self._finish(ranks.exchange(torch.stack(slopes)), step)
        if self.check_every and (step + 1) % self.check_every == 0:
            ranks.check_equal((site.parameter for site in weights.sites), step + 1)
        return torch.stack(losses).mean()

    @torch.no_grad()
    def step_with_slopes(self, slopes: Tensor) -> None:
        """Make a step whose slopes are known, from a log: the same bits, without evaluating anything.

        Args:
            slopes: as :meth:`~graftwork_optim_core.zeroth_order.ranks.Ranks.exchange` returned them.
        """
        step, evaluation, eps = self.weights.step, self.evaluation, self._shared("eps")
        self._refresh(step)
        # Weights perturbed in place are rounded on the way there and back; the same way is gone again.
        for probe in range(len(slopes)):
            evaluation.walk(self._draw(step, probe), eps, back=len(slopes) > 1)
        self._finish(slopes, step)

    def _refresh(self, step: int) -> None:
        if step % self._shared("interval") == 0:
            self.merge()
            self.weights.refresh(self._shared("seed"), step // self._shared("interval"))
            self.evaluation.take_rights()

    def _draw(self, step: int, probe: int) -> ProbeKey:
        for pool in self.weights.pools:
            pool.draw(self._shared("seed"), step, probe)
        return ProbeKey(self._shared("seed"), step, probe)

    def _finish(self, slopes: Tensor, step: int) -> None:
        finite = slopes.isfinite().all()
        used = torch.where(finite, slopes, torch.zeros_like(slopes))
        if self.log is not None:
            self.log.append(step, slopes, self.param_groups)
        self._count_skips(~finite, finite.device)
        update(self.weights, self.evaluation, used, finite, self._shared("seed"), step, self._shared("eps"))
        for count in self.weights.steps:
            count.add_(1)
        self.evaluation.let_go_of_gathered()

    @torch.no_grad()
    def merge(self) -> None:
        """Write the movement that lies beside the weights into them; that of additive weights stays there."""
        self.weights.merge(self._rounding(), self.evaluation.in_place)

    def eval(self) -> None:
        """Let forward passes of the model see all movement, until :meth:`train`. Writes nothing."""
        if self._viewing is None:
            self._viewing = self.evaluation.unperturbed()
            self._viewing.__enter__()

    def train(self) -> None:
        """Undo :meth:`eval`."""
        if self._viewing is not None:
            viewing, self._viewing = self._viewing, None
            viewing.__exit__(None, None, None)

    def state_dict(self) -> dict[str, Any]:
        """Return the state. What was logged up to here is written out first, for whoever resumes from it."""
        if self.log is not None:
            self.log.flush()
        return super().state_dict()

    def _follow_groups(self) -> None:
        # What eval() shows stays as it is until train().
        if self._viewing is None:
            super()._follow_groups()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, keeping dtype, device and placement.

        As with any torch optimizer the saved options take the place of this one's.

        Raises:
            ValueError: an option is out of its range or a saved tensor does not fit its parameter; nothing is
                changed.
        """
        loaded: State = {}

        def take(incoming: dict[str, Any]) -> tuple[list[dict[str, Any]], State]:
            groups = merged_groups(self.param_groups, incoming["param_groups"])
            for group in groups:
                check_options(group)
            check_shared(groups)
            loaded.update(self._checked(incoming, groups))
            for group in groups:
                self._refuse_unknown(group, group)
            return groups, {}

        load_checked(self, state_dict, super().load_state_dict, take, lambda: self._bind(loaded))

    def _checked(self, incoming: dict[str, Any], groups: Sequence[dict[str, Any]]) -> State:
        """Return the saved states by parameter, if they fit."""
        by_parameter: State = {}
        resembling = []
        for own, group in zip(self.param_groups, groups, strict=True):
            resembling.append({**group, "params": own["params"]})
            if "param_names" in own:
                resembling[-1]["param_names"] = own["param_names"]
            for parameter, key in zip(own["params"], group["params"], strict=True):
                by_parameter[parameter] = incoming["state"].get(key, {})
        for site, fresh in self._weights_of(resembling).states():
            if saved := by_parameter[site.parameter]:
                check_fits(site.name, saved, fresh, f"{type(self).__name__} of rank {site.group['rank']}")
        return by_parameter

    def __getstate__(self) -> dict[str, Any]:
        return {
            **super().__getstate__(),
            "accumulate_dtype": self.accumulate_dtype,
            "data_parallel": self.data_parallel,
            "check_every": self.check_every,
            "_root": self._root,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for name, default in (("_weights", None), ("_evaluation", None), ("_viewing", None), ("log", None)):
            self.__dict__.setdefault(name, default)
        self.__dict__.setdefault("process_group", None)
        self.__dict__.setdefault("_root", None)
        if "_hooks" not in self.__dict__:
            self._hooks = StateDictHooks()
            if self._root is not None:
                self._hooks.move_to(self._root, self)
