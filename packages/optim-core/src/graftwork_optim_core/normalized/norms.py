"""Euclidean norms over all parameters together, or of each, wherever their parts are.

Of a parameter that is spread over processes the squares are summed over those; one that every process holds
counts once. All sums over the same processes are one all-reduce, in which every process takes part whatever
gradients it has.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from graftwork_optim_core.common.scalars import Scalar
from graftwork_optim_core.common.sharding import local_part, sharding_groups, sum_over_groups

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

_BLOCK = 4096
"""Elements summed up in float32: of 8 million the CPU's norm would be wrong by two parts in ten thousand."""


def norm_of(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a tensor's norm, a scalar of the given dtype, or of the tensor's own where that is wider.

    >>> float(norm_of(torch.full((4, 4096), 2.0), torch.float32))
    256.0
    """
    dtype = torch.promote_types(tensor.dtype, dtype)
    if tensor.device.type != "cpu" or tensor.numel() <= _BLOCK or not tensor.is_contiguous():
        whole: Tensor = torch.linalg.vector_norm(tensor, dtype=dtype)
        return whole
    flat = tensor.view(-1)
    size = flat.numel() // _BLOCK * _BLOCK
    blocks = torch.linalg.vector_norm(flat[:size].view(-1, _BLOCK), dim=1, dtype=dtype)
    rest = torch.linalg.vector_norm(flat[size:], dtype=dtype)
    joint: Tensor = torch.linalg.vector_norm(torch.cat((blocks, rest.view(1))))
    return joint


def exact_norm(norm: float, tensor: Tensor, dtype: torch.dtype) -> float:
    """Return a norm as it is, or taken anew where squares were too small for the dtype of their sum.

    Of a momentum that no gradient feeds any more the squares vanish long before the momentum does.

    Args:
        norm: of the tensor.
        tensor: on the CPU.
        dtype: in which its squares were summed up.

    >>> tiny = torch.tensor([3e-30, 4e-30])
    >>> round(exact_norm(0.0, tiny, torch.float32) * 1e30, 4)
    5.0
    """
    if not norm <= least_norm(tensor.numel(), dtype):
        return norm
    if tensor.dtype != torch.float64:
        return float(torch.linalg.vector_norm(tensor, dtype=torch.float64))
    largest = float(torch.linalg.vector_norm(tensor, math.inf)) if tensor.numel() else 0.0
    return largest * float(torch.linalg.vector_norm(tensor / largest)) if largest else 0.0


def least_norm(elements: int, dtype: torch.dtype) -> float:
    """Return up to which norm squares of so many elements may have vanished in a dtype."""
    return 4 * math.sqrt(torch.finfo(dtype).tiny * elements)


def norms_of(tensors: Sequence[Tensor], dtype: torch.dtype, foreach: bool) -> list[Tensor]:
    """Return the norm of every tensor.

    Args:
        tensors: of any dtypes and devices.
        dtype: of the sums, at least.
        foreach: take all neighbours of one dtype and device in one call.
    """
    if not foreach:
        return [norm_of(tensor, dtype) for tensor in tensors]
    norms: list[Tensor] = []
    for _, run in groupby(tensors, key=lambda tensor: (tensor.device, tensor.dtype)):
        alike = list(run)
        if alike[0].device.type == "cpu":
            norms += [norm_of(tensor, dtype) for tensor in alike]
        else:
            norms += torch._foreach_norm(alike, 2, torch.promote_types(alike[0].dtype, dtype))
    return norms


class Shards:
    """How the parameters of an optimizer are spread over processes.

    Args:
        parameters: all of them, in the same order in every process.
        per_tensor: give each parameter its own norm instead of one for all.

    >>> shards = Shards([torch.zeros(2), torch.zeros(3)])
    >>> shards.joined([0, 1], [[3.0, 4.0]])
    [[5.0]]
    """

    def __init__(self, parameters: Iterable[Tensor], per_tensor: bool = False) -> None:
        self.per_tensor = per_tensor
        self._device = torch.device("cpu")
        self._spread: dict[tuple[ProcessGroup, ...], list[int]] = {}
        for position, parameter in enumerate(parameters):
            if groups := sharding_groups(parameter):
                self._device = local_part(parameter).device
                self._spread.setdefault(groups, []).append(position)

    @property
    def spread(self) -> bool:
        """Whether other processes hold parts of a parameter."""
        return bool(self._spread)

    def joined(self, positions: Sequence[int], kinds: Sequence[Sequence[Scalar]]) -> list[list[Scalar]]:
        """Join local norms to norms of whole parameters, or of all parameters.

        Args:
            positions: of the parameters that have a norm; read only if some parameter is spread.
            kinds: of each kind of norm a list, by position; all numbers or all tensors.

        Returns:
            Of each kind one norm for all parameters, or as many as there are positions; numbers for numbers.
        """
        if not self._spread:
            return [list(kind) if self.per_tensor else [_joint(kind)] for kind in kinds]
        everything = [norm for kind in kinds for norm in kind]
        numbers = not any(isinstance(norm, Tensor) for norm in everything)
        device = next((norm.device for norm in everything if isinstance(norm, Tensor)), self._device)
        squares = [
            [torch.as_tensor(norm, dtype=torch.float64, device=device).square() for norm in kind]
            for kind in kinds
        ]
        zero = torch.zeros((), dtype=torch.float64, device=device)
        if self.per_tensor:
            sums = self._each(positions, squares, zero)
        else:
            sums = [[total] for total in self._all(positions, squares, zero)]
        roots = [[total.sqrt() for total in kind] for kind in sums]
        return (
            [[float(root) for root in kind] for kind in roots] if numbers else [list(kind) for kind in roots]
        )

    def _all(self, positions: Sequence[int], kinds: list[list[Tensor]], zero: Tensor) -> list[Tensor]:
        spread = {position for own_positions in self._spread.values() for position in own_positions}
        alone = [n for n, position in enumerate(positions) if position not in spread]
        totals = [sum((kind[n] for n in alone), start=zero) for kind in kinds]
        for groups, own_positions in self._spread.items():
            here = [n for n, position in enumerate(positions) if position in own_positions]
            sums = sum_over_groups([sum((kind[n] for n in here), start=zero) for kind in kinds], groups)
            totals = [total + one for total, one in zip(totals, sums, strict=True)]
        return totals

    def _each(self, positions: Sequence[int], kinds: list[list[Tensor]], zero: Tensor) -> list[list[Tensor]]:
        index = {position: n for n, position in enumerate(positions)}
        for groups, own_positions in self._spread.items():
            # One whose gradient is missing here takes part with nothing.
            own = [
                kind[index[position]] if position in index else zero
                for kind in kinds
                for position in own_positions
            ]
            sums = iter(sum_over_groups(own, groups))
            for kind in kinds:
                for position in own_positions:
                    total = next(sums)
                    if position in index:
                        kind[index[position]] = total
        return kinds


def _joint(norms: Sequence[Scalar]) -> Scalar:
    tensors = [norm for norm in norms if isinstance(norm, Tensor)]
    if not tensors:
        return math.hypot(*(norm for norm in norms if not isinstance(norm, Tensor)))
    joint: Tensor = torch.linalg.vector_norm(torch.stack([norm.to(tensors[0].device) for norm in tensors]))
    return joint
