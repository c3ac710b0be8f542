"""Which piece of a tensor lies in this process, and how a piece of a shape is placed as a parameter is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

import torch
import torch.distributed as dist
from torch import Tensor

from graftwork import GraftworkError

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

Extent = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """A box within a tensor.

    Args:
        offset: of its first element, in every dimension.
        extent: its size in every dimension.
    """

    offset: Extent
    extent: Extent

    @classmethod
    def whole(cls, shape: Sequence[int]) -> Piece:
        """All of a tensor."""
        return cls((0,) * len(shape), tuple(shape))

    @property
    def numel(self) -> int:
        """How many elements lie in it."""
        return torch.Size(self.extent).numel()

    def overlap(self, other: Piece) -> Piece | None:
        """What lies in both; None for nothing."""
        offset = tuple(map(max, self.offset, other.offset))
        ends = [
            min(a + n, b + m)
            for a, n, b, m in zip(self.offset, self.extent, other.offset, other.extent, strict=True)
        ]
        extent = tuple(end - start for start, end in zip(offset, ends, strict=True))
        return Piece(offset, extent) if all(size > 0 for size in extent) else None

    def within(self, other: Piece) -> tuple[slice, ...]:
        """The slices that cut this piece out of another that contains it."""
        return tuple(
            slice(start - base, start - base + size)
            for start, base, size in zip(self.offset, other.offset, self.extent, strict=True)
        )


def is_sharded(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether a tensor is spread over processes."""
    if type(tensor) in (Tensor, torch.nn.Parameter) or not dist.is_available():
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def local_piece(name: str, tensor: Tensor) -> tuple[Piece, Tensor]:
    """Return where this process's part of a tensor lies in it, and the part.

    Raises:
        GraftworkError: it is spread in a way that has no such part.
    """
    if not is_sharded(tensor):
        return Piece.whole(tensor.shape), tensor
    piece, local = _piece_of(tensor, tensor.shape), tensor.to_local()
    if any(placement.is_partial() for placement in tensor.placements) or piece.extent != tuple(local.shape):
        raise GraftworkError(
            f"{name} is spread over processes as {tensor.placements}, which a checkpoint cannot hold; "
            "it holds whole tensors and those cut along their dimensions"
        )
    return piece, local


def piece_for(parameter: Tensor, shape: Sequence[int]) -> Piece:
    """Which piece of a tensor of a shape belongs here, if it is spread as a parameter is."""
    return _piece_of(parameter, shape) if is_sharded(parameter) else Piece.whole(shape)


def placed_as(parameter: DTensor, local: Tensor, shape: Sequence[int]) -> DTensor:
    """Return this process's part of a tensor of a shape as one spread as a parameter is."""
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        local,
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=torch.Size(shape),
        stride=torch.empty(torch.Size(shape), device="meta").stride(),
    )


def _piece_of(tensor: DTensor, shape: Sequence[int]) -> Piece:
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    extent, offset = compute_local_shape_and_global_offset(
        torch.Size(shape), tensor.device_mesh, tensor.placements
    )
    return Piece(tuple(offset), tuple(extent))
