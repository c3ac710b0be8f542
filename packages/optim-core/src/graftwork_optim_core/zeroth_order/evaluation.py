"""Evaluating the loss at the two ends of a direction, by whichever backend suits the model.

What a model's weights are used by is recorded once, in a pass at the unperturbed weights. Weights that some
function uses without a side path are perturbed in place, whatever the backend.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from graftwork_optim_core.common.random_state import RandomState
from graftwork_optim_core.common.sharding import is_sharded_type, let_go_of_gathered
from graftwork_optim_core.zeroth_order.doubling import Doubling
from graftwork_optim_core.zeroth_order.in_place import ProbeKey, perturb, stream
from graftwork_optim_core.zeroth_order.pool import Pool
from graftwork_optim_core.zeroth_order.side_operations import OPERATIONS, add_path
from graftwork_optim_core.zeroth_order.side_path import Record, SidePath, SideWeight
from graftwork_optim_core.zeroth_order.weights import Weights

_LOGGER = logging.getLogger(__name__)
Loss = Callable[[], Any]

DUAL_ROWS = 256
"""Up to so many rows a matrix is multiplied with, ``auto`` evaluates both ends in one pass."""


class Evaluation:
    """The two losses of a step.

    Args:
        weights: of the optimizer.
        backend: as chosen by the user, or before: "inplace", "sidepath" or "dual"; "auto" is decided by the
            first pass.
        root: the module that the closure calls, if known.
        earlier: what "auto" was decided to be in an earlier part of the run; empty if it was not.
    """

    def __init__(self, weights: Weights, backend: str, root: nn.Module | None, earlier: str = "") -> None:
        self.weights = weights
        self.backend = backend
        self.root = root
        self.earlier = earlier
        self.device = weights.device()
        self.recorded = False
        # In units of eps, where the weights that are perturbed in place stand.
        self.offset = 0.0
        self._sides: dict[int, SideWeight] = {}
        self._ends: list[tuple[Tensor, Tensor]] = []
        if backend != "inplace" and not _is_compiled(root):
            self._make_sides()
        if not self._sides:
            self.backend = "inplace"
        self.path = SidePath(self._sides, OPERATIONS)
        self.doubling = Doubling(root, self.path) if root is not None else None
        self._hooks = list(self._hook_opaque_modules())

    def _make_sides(self) -> None:
        for pool, rights in zip(self.weights.pools, self.weights.rights, strict=True):
            ends = (torch.zeros_like(pool.direction), torch.zeros_like(pool.direction))
            self._ends.append(ends)
            for index, site in enumerate(pool.sites):
                if not is_sharded_type(site.parameter):
                    views = (pool.view(ends[0], index), pool.view(ends[1], index))
                    self._sides[id(site.parameter)] = SideWeight(site, rights[index], views)

    def take_rights(self) -> None:
        """Take note that right factors have changed."""
        for side in self._sides.values():
            side.forget_casts()

    def in_place(self, pool: Pool) -> list[int]:
        """Return the indices of a pool's sites that are perturbed in place."""
        return [i for i, site in enumerate(pool.sites) if id(site.parameter) not in self._sides]

    def record(self, closure: Loss, state: RandomState) -> None:
        """Find out, in a pass of its own, how the model uses its weights, and decide what was left open.

        Raises:
            ValueError: the backend that was asked for is not possible.
        """
        if self.backend != "inplace":
            self._set_ends(0.0)
            record = Record()
            with self.path:
                self.path.at(0, record)
                state.restore()
                closure()
            if record.unknown:
                self._take_out(record)
            self._decide(record)
        # Only now: of a pass that the closure broke off nothing is known.
        self.recorded = self.path.strict = True

    def names_in_place(self) -> list[str]:
        """Return the names of weights that could have had a side path and are perturbed in place."""
        return [pool.sites[index].name for pool in self.weights.pools for index in self.in_place(pool)]

    def take_out(self, names: Collection[str]) -> None:
        """Perturb weights in place."""
        for key, side in list(self._sides.items()):
            if side.site.name in names:
                del self._sides[key]

    def _take_out(self, record: Record) -> None:
        self.take_out(record.unknown)
        named = ", ".join(f"{name} (by {function})" for name, function in list(record.unknown.items())[:3])
        _LOGGER.info(
            "%d weights are used by functions without a side path and are perturbed in place: %s",
            len(record.unknown),
            named,
        )

    def _decide(self, record: Record) -> None:
        held = sum(len(pool.sites) for pool in self.weights.pools)
        possible = self.root is not None and not self.weights.streamed and len(self._sides) == held
        if self.backend == "dual" and not possible:
            reason = (
                "attach(model) must be called before the first step"
                if self.root is None
                else "some weights can only be perturbed in place: "
                + ", ".join([*record.unknown, *(site.name for site in self.weights.streamed)][:3])
            )
            raise ValueError(f"backend must be 'auto', 'inplace' or 'sidepath' here, got 'dual': {reason}")
        if not self._sides:
            self.backend = "inplace"
        elif self.backend == "auto":
            narrow = any(
                side.site.additive or side.site.parameter.dtype in (torch.bfloat16, torch.float16)
                for side in self._sides.values()
            )
            dual = possible and not narrow and record.mixes is None and record.rows <= DUAL_ROWS
            # A resumed run goes on as it was, whatever its next batch is like.
            dual = possible and self.earlier == "dual" if self.earlier else dual
            self.backend = "dual" if dual else "sidepath"

    def losses(self, closure: Loss, key: ProbeKey, eps: float, state: RandomState) -> tuple[Tensor, Tensor]:
        """Return the loss at both ends of the directions that the pools hold.

        Weights that are perturbed in place are left at the second end; see :attr:`offset` and :meth:`shift`.
        If the closure raises, they are restored first.
        """
        self._set_ends(eps)
        try:
            self.shift(1.0 - self.offset, key, eps)
            first = self._loss(closure, 0, state)
            self.shift(-2.0, key, eps)
            second = self._loss(closure, 1, state)
        except BaseException:
            self.shift(-self.offset, key, eps)
            raise
        return first, second

    def shift(self, by: float, key: ProbeKey, eps: float) -> None:
        """Move the weights that are perturbed in place by a multiple of eps along their directions."""
        if by == 0:
            return
        self.offset += by
        for pool, rights in zip(self.weights.pools, self.weights.rights, strict=True):
            if indices := self.in_place(pool):
                perturb(pool, indices, rights, by * eps, key)
        streamed = self.weights.streamed
        stream([site.matrix for site in streamed], streamed, by * eps, key)

    @property
    def writes(self) -> bool:
        """Whether some weights are perturbed in place."""
        return bool(self.weights.streamed) or any(self.in_place(pool) for pool in self.weights.pools)

    def walk(self, key: ProbeKey, eps: float, *, back: bool) -> None:
        """Move weights perturbed in place as :meth:`losses` does, without evaluating: the same roundings.

        Args:
            key: of the directions.
            eps: how far.
            back: whether they return from the second end.
        """
        for by in (1.0 - self.offset, -2.0):
            self.shift(by, key, eps)
        if back:
            self.shift(-self.offset, key, eps)

    def _loss(self, closure: Loss, end: int, state: RandomState) -> Tensor:
        with ExitStack() as stack:
            self.let_go_of_gathered()
            if self._sides:
                stack.enter_context(self.path)
                self.path.at(end)
                if self.backend == "dual" and self.doubling is not None:
                    stack.enter_context(self.doubling.second_end() if end else self.doubling.first_end())
            state.restore()
            loss = closure()
        return as_loss(loss, self.device)

    def let_go_of_gathered(self) -> None:
        """Let a module sharded by ``fully_shard`` forget gathered weights that have changed."""
        let_go_of_gathered(self.root, (site.parameter for site in self.weights.sites))

    def _set_ends(self, eps: float) -> None:
        for pool, (first, second) in zip(self.weights.pools, self._ends, strict=False):
            assert pool.moved is not None
            torch.add(pool.moved, pool.direction, alpha=eps, out=first)
            torch.add(pool.moved, pool.direction, alpha=-eps, out=second)

    @contextmanager
    def unperturbed(self) -> Iterator[None]:
        """Let the model compute with what lies beside its weights added, and nothing else."""
        if not self._sides:
            yield
            return
        self._set_ends(0.0)
        with self.path:
            self.path.at(0)
            self.path.shows_whole = True
            try:
                yield
            finally:
                self.path.shows_whole = False

    def close(self) -> None:
        """Take the hooks off the model."""
        for hook in self._hooks:
            hook.remove()

    def _hook_opaque_modules(self) -> Iterator[Any]:
        """Hook modules whose products no torch function shows, such as those of bitsandbytes."""
        if self.root is None:
            return
        for module in self.root.modules():
            weight = getattr(module, "weight", None)
            side = self._sides.get(id(weight))
            if side is not None and side.site.additive and type(module) is not nn.Linear:
                decay, add = self._hooks_of(side)
                yield module.register_forward_pre_hook(decay)
                yield module.register_forward_hook(add)

    def _hooks_of(self, side: SideWeight) -> tuple[Callable[..., Any], Callable[..., Any]]:
        given: list[Tensor] = []

        def decay(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
            if SidePath.active is not self.path or side.seen:
                return None
            given[:] = inputs[:1]
            return (inputs[0] * side.decay, *inputs[1:]) if side.decay != 1.0 else None

        def add(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
            path = SidePath.active
            if path is not self.path or side.seen:
                return None
            input = path.note(given.pop())
            result = output.clone()
            add_path(path, side, input, result)
            return result

        return decay, add


def as_loss(loss: Any, device: torch.device) -> Tensor:
    """Return a closure's loss as a tensor of no dimension, in float32 or float64.

    Raises:
        ValueError: it is no single number.
    """
    tensor = torch.as_tensor(loss, device=device).detach()
    if tensor.numel() != 1:
        raise ValueError(f"the closure must return one number, got a tensor of shape {tuple(tensor.shape)}")
    tensor = tensor.reshape(())
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _is_compiled(root: nn.Module | None) -> bool:
    compiled = root is not None and any(
        getattr(module, "_compiled_call_impl", None) is not None for module in root.modules()
    )
    if compiled:
        warnings.warn("a compiled model is perturbed in place: its functions cannot be seen", stacklevel=4)
    return compiled
