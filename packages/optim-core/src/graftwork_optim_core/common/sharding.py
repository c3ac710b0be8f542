"""Weights whose rows or columns are spread over processes (DTensors), as their local parts.

Rows are independent of one another but for one scalar a weight, so that a shard of whole rows is worked on
locally. A shard of columns is exact where no block of columns is cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup
    from torch.distributed.tensor import DTensor

_PLAIN = (torch.Tensor, torch.nn.Parameter)


def is_sharded_type(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether a tensor is a DTensor."""
    # DTensor's import takes half a second, which a process without DTensors need not spend.
    if type(tensor) in _PLAIN or not torch.distributed.is_available():
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def local_part(tensor: Tensor) -> Tensor:
    """Return what of a tensor lies in this process; of a plain tensor all."""
    return tensor.to_local() if is_sharded_type(tensor) else tensor


def local_gradient(parameter: Tensor, gradient: Tensor) -> Tensor:
    """Return the part of a gradient that belongs to the parameter's local part."""
    if is_sharded_type(parameter) and is_sharded_type(gradient):
        if gradient.placements != parameter.placements:
            gradient = gradient.redistribute(parameter.device_mesh, parameter.placements)
        return gradient.to_local()
    return gradient


def sharding_groups(tensor: Tensor) -> tuple[ProcessGroup, ...]:
    """Return the groups over which a tensor's parts must be summed to sum over the whole tensor."""
    if not is_sharded_type(tensor):
        return ()
    mesh = tensor.device_mesh
    return tuple(
        mesh.get_group(dimension)
        for dimension, placement in enumerate(tensor.placements)
        if _sharded_axis(placement, tensor.ndim) is not None and mesh.size(dimension) > 1
    )


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Which rows of a weight this process holds, and how to reach the others.

    Args:
        parameter: the weight, whole or spread by its first axis.

    >>> Rows(torch.zeros(4, 8)).sum(torch.ones(2))
    tensor([1., 1.])
    """

    parameter: Tensor

    @property
    def spread(self) -> bool:
        """Whether other processes hold other rows."""
        return bool(sharding_groups(self.parameter))

    @property
    def part(self) -> tuple[int, ...]:
        """Which of the parts this process holds, a number for each way in which the weight is cut."""
        if not is_sharded_type(self.parameter):
            return ()
        mesh, placements = self.parameter.device_mesh, self.parameter.placements
        cut = [
            d for d, placed in enumerate(placements) if _sharded_axis(placed, self.parameter.ndim) is not None
        ]
        return tuple(mesh.get_local_rank(dimension) for dimension in cut)

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over the processes that hold other rows; it may be written into."""
        groups = sharding_groups(self.parameter)
        if groups:
            tensor = tensor.contiguous()
        for group in groups:
            torch.distributed.all_reduce(tensor, group=group)
        return tensor

    def gather(self, local: Tensor) -> Tensor:
        """Return all rows of a matrix of which every process holds those that it holds of the weight."""
        parameter = self.parameter
        if not (is_sharded_type(parameter) and self.spread):
            return local
        return placed_like(parameter, local.contiguous(), (parameter.shape[0], local.shape[1])).full_tensor()

    def own(self, whole: Tensor) -> Tensor:
        """Return the rows that this process holds of a matrix that all hold whole."""
        parameter = self.parameter
        if not (is_sharded_type(parameter) and self.spread):
            return whole
        from torch.distributed.tensor import distribute_tensor

        placed = distribute_tensor(whole, parameter.device_mesh, parameter.placements, src_data_rank=None)
        return placed.to_local()


def check_sharding(name: str, parameter: Tensor, block: int) -> None:
    """Refuse a sharding that cuts blocks of columns.

    Args:
        name: the parameter's, for the message.
        parameter: the weight.
        block: columns a block; 1 where every column stands alone, 0 where they are all one block.

    Raises:
        ValueError: a block would lie in two processes, or the parameter is a flattened view of several.
    """
    if getattr(parameter, "_is_flat_param", False) or getattr(parameter, "_fsdp_flattened", False):
        raise ValueError(
            f"parameter {name!r} is a flattened view made by FullyShardedDataParallel, which hides the "
            "weight's rows; shard the model with torch.distributed.fsdp.fully_shard instead"
        )
    if not is_sharded_type(parameter) or block == 1:
        return
    for dimension, placement in enumerate(parameter.placements):
        axis, parts = _sharded_axis(placement, parameter.ndim), parameter.device_mesh.size(dimension)
        if axis is None or parts == 1 or (axis == 0 and parameter.ndim > 1):
            continue
        local_width = -(-parameter.shape[axis] // parts)
        if block == 0:
            raise ValueError(
                f"parameter {name!r} of shape {tuple(parameter.shape)} is sharded {placement} over {parts} "
                "processes, but this optimizer needs whole rows of it in one process; shard its first axis"
            )
        if parameter.ndim > 2 or type(placement).__name__ != "Shard" or local_width % block:
            raise ValueError(
                f"parameter {name!r} of shape {tuple(parameter.shape)} is sharded {placement} over {parts} "
                f"processes, {local_width} along that axis in each; columns may be sharded only where "
                f"that is a multiple of {block}, the columns of a block. Shard rows, or take smaller blocks"
            )


def _sharded_axis(placement: Any, ndim: int) -> int | None:
    axis = getattr(placement, "dim", None)
    return None if axis is None else int(axis) % max(ndim, 1)


def zeros_placed_like(
    parameter: Tensor, local_shape: Sequence[int], shape: Sequence[int], dtype: torch.dtype
) -> Tensor:
    """Return zeros of a shape, on the parameter's device and spread over processes as it is.

    Args:
        parameter: the weight to go by.
        local_shape: of this process's part.
        shape: of the whole tensor; the same unless the parameter is a DTensor.
        dtype: of the result.
    """
    if not is_sharded_type(parameter):
        return torch.zeros(torch.Size(shape), dtype=dtype, device=parameter.device)
    local = torch.zeros(torch.Size(local_shape), dtype=dtype, device=parameter.to_local().device)
    return placed_like(parameter, local, shape)


def placed_like(parameter: DTensor, local: Tensor, shape: Sequence[int]) -> DTensor:
    """Return this process's part of a tensor as one of a shape that is spread as the parameter is."""
    from torch.distributed.tensor import DTensor

    size, stride = torch.Size(shape), torch.empty(torch.Size(shape), device="meta").stride()
    mesh, placements = parameter.device_mesh, parameter.placements
    return DTensor.from_local(local, mesh, placements, shape=size, stride=stride, run_check=False)


def let_go_of_gathered(model: nn.Module | None, parameters: Iterable[Tensor]) -> None:
    """Let modules sharded by ``fully_shard`` forget gathered weights, which the next forward pass would use
    whatever has become of them."""
    if model is None or not any(map(is_sharded_type, parameters)):
        return
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def sum_over_groups(values: Sequence[Tensor], groups: Sequence[ProcessGroup]) -> list[Tensor]:
    """Sum scalars over the product of process groups: one all-reduce a group, whatever the number of scalars.

    Args:
        values: tensors of no dimension, in the same order in every process.
        groups: as :func:`sharding_groups` gives them.
    """
    total = torch.stack(list(values)).double()
    for group in groups:
        torch.distributed.all_reduce(total, group=group)
    return list(total.unbind())
