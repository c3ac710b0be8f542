"""Both ends of a difference in one forward pass over a batch of twice the size.

While the closure runs for the first end, the root module's forward pass repeats its inputs along the first
axis, runs once with a side path of which the first half of the batch takes one end and the second half the
other, hands out the first half of its outputs and keeps the second for when the closure runs for the second
end. What the closure does around the model, its loss say, runs twice as always.

Which tensors follow the batch is not guessed: a batch of a new shape is passed singly first, and the shape of
every function's input is recorded; in a doubled batch it must be the double of what was recorded, or, for
inputs that are the same for all samples (positions), equal to it. The halves of the doubled batch's outputs
are then compared with those of each end alone, which shows what shapes do not: samples that depend on each
other or on their place in the batch, or rows in another order. Where any of that fails, where an output of
floating numbers does not follow the batch, or where the model draws random numbers, the two ends are
evaluated one after the other from then on, for batches of that shape.

A step with a batch of a new shape thus takes twice as long. Its losses are those of the doubled batch all the
same, so that a run which is resumed, and meets its shapes anew, takes the same steps bit for bit.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from graftwork_optim_core.common.random_state import RandomState
from graftwork_optim_core.zeroth_order.side_path import NotDoubledError, Record, SidePath

_SINGLY = object()
_ROUNDINGS = 32
_LEAKAGE = 0.05
Signature = tuple[Any, ...]


class Doubling:
    """Runs a model for both ends at once; see the module.

    Args:
        root: the module that the closure calls.
        path: holds both ends.
    """

    def __init__(self, root: nn.Module, path: SidePath) -> None:
        self.root = root
        self.path = path
        self._records: dict[Signature, tuple[Record, list[Any]] | None] = {}
        self._second_halves: deque[Any] = deque()
        self._told = False

    @contextmanager
    def first_end(self) -> Iterator[None]:
        """Let the root's forward pass evaluate both ends and hand out the first."""
        self._second_halves.clear()
        with self._instead_of_forward(self._first):
            yield

    @contextmanager
    def second_end(self) -> Iterator[None]:
        """Let the root's forward pass hand out what it kept of the second end."""
        with self._instead_of_forward(self._second):
            yield
        if self._second_halves:
            raise RuntimeError(
                "the closure called the model less often for the second end than for the first; it must be a "
                "function of the parameters alone"
            )

    @contextmanager
    def _instead_of_forward(self, replacement: Callable[..., Any]) -> Iterator[None]:
        own = self.root.__dict__.get("forward")
        forward = self.root.forward

        def replaced(*args: Any, **kwargs: Any) -> Any:
            return replacement(forward, *args, **kwargs)

        self.root.forward = replaced
        try:
            yield
        finally:
            if own is None:
                del self.root.forward
            else:
                self.root.forward = own

    def _first(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        leaves, structure = pytree.tree_flatten((args, kwargs))
        samples = next((leaf.shape[0] for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim), 0)
        signature = (structure, *(_shape_of(leaf) for leaf in leaves), torch.is_autocast_enabled("cpu"))
        single = None
        if signature not in self._records:
            single = self._recorded(signature, forward, args, kwargs)
        known = self._records[signature]
        if known is not None:
            record, output_shapes = known
            twice = [_repeated(leaf, samples) for leaf in leaves]
            again_args, again_kwargs = pytree.tree_unflatten(twice, structure)
            try:
                with self.path.both_ends(record.shapes, 2 * samples):
                    output = forward(*again_args, **again_kwargs)
                first, second = _halves(output, output_shapes)
                if single is not None:
                    _compare(single, first, second)
            except NotDoubledError as reason:
                self._give_up(signature, str(reason))
            except Exception as reason:
                # If it lies in the model or its inputs, the single pass meets it too, and it is the caller's.
                single = forward(*args, **kwargs)
                self._give_up(signature, str(reason))
            else:
                self._second_halves.append((second, None if single is None else (first, signature)))
                return first
        self._second_halves.append(_SINGLY)
        return forward(*args, **kwargs) if single is None else single

    def _second(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if not self._second_halves:
            raise RuntimeError(
                "the closure called the model more often for the second end than for the first; it must be a "
                "function of the parameters alone"
            )
        kept = self._second_halves.popleft()
        if kept is _SINGLY:
            return forward(*args, **kwargs)
        second, unchecked = kept
        if unchecked is None:
            return second
        first, signature = unchecked
        single = forward(*args, **kwargs)
        try:
            _compare(single, second, first)
        except NotDoubledError as reason:
            self._give_up(signature, str(reason))
            return single
        return second

    def _recorded(
        self, signature: Signature, forward: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """Evaluate the first end alone and record what follows the batch."""
        record = self.path.record = Record()
        before = RandomState.capture(self.path_device)
        output = forward(*args, **kwargs)
        self.path.record = None
        if record.mixes is None and before != RandomState.capture(self.path_device):
            record.mixes = "the model draws random numbers"
        if record.mixes is None:
            self._records[signature] = (record, [_shape_of(leaf) for leaf in pytree.tree_leaves(output)])
        else:
            self._give_up(signature, record.mixes)
        return output

    @property
    def path_device(self) -> torch.device:
        """Where the model lies."""
        return next(self.root.parameters()).device

    def _give_up(self, signature: Signature, reason: str) -> None:
        self._records[signature] = None
        if not self._told:
            self._told = True
            warnings.warn(f"the two ends of a step are evaluated one after the other: {reason}", stacklevel=2)


def _shape_of(leaf: Any) -> Any:
    return (tuple(leaf.shape), leaf.dtype) if isinstance(leaf, Tensor) else type(leaf).__name__


def _repeated(leaf: Any, samples: int) -> Any:
    follows = isinstance(leaf, Tensor) and leaf.ndim > 0 and leaf.shape[0] == samples
    return torch.cat([leaf, leaf]) if follows else leaf


def _halves(output: Any, shapes: list[Any]) -> tuple[Any, Any]:
    """Divide every tensor of an output that follows the batch.

    Raises:
        NotDoubledError: a tensor of floating numbers has not twice the samples that were recorded.
    """
    leaves, structure = pytree.tree_flatten(output)
    if len(leaves) != len(shapes):
        raise NotDoubledError("the model returned something else")
    halves: tuple[list[Any], list[Any]] = ([], [])
    for leaf, recorded in zip(leaves, shapes, strict=True):
        pieces = (leaf, leaf)
        if isinstance(leaf, Tensor):
            (shape, _) = recorded
            if shape and tuple(leaf.shape) == (2 * shape[0], *shape[1:]):
                first, second = leaf.chunk(2)
                pieces = (first, second)
            elif leaf.is_floating_point() or tuple(leaf.shape) != shape:
                raise NotDoubledError(f"an output of shape {tuple(leaf.shape)} does not follow the batch")
        halves[0].append(pieces[0])
        halves[1].append(pieces[1])
    return pytree.tree_unflatten(halves[0], structure), pytree.tree_unflatten(halves[1], structure)


def _compare(single: Any, half: Any, other: Any) -> None:
    """Check that a half of a doubled batch's outputs is what its end alone gave.

    Samples of the other end that have leaked in show as a share of the difference between the halves.

    Raises:
        NotDoubledError: an output differs by more than rounding.
    """
    leaves = (pytree.tree_leaves(output) for output in (single, half, other))
    for alone, one, two in zip(*leaves, strict=True):
        if not isinstance(alone, Tensor) or not alone.is_floating_point() or alone.numel() == 0:
            continue
        rounding = _ROUNDINGS * torch.finfo(alone.dtype).eps * alone.abs().max()
        allowed = rounding + _LEAKAGE * (one - two).abs().max()
        if (one - alone).abs().max() > allowed:
            raise NotDoubledError("samples depend on each other, on their place, or are not in order")
