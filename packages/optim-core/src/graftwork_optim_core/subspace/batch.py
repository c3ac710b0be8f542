"""The weights that one pass of a step works on together, as local matrices cut into runs of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from graftwork_optim_core.subspace.sharding import local_gradient, local_part
from graftwork_optim_core.subspace.state import arithmetic_dtype
from graftwork_optim_core.subspace.transform import GradientTransform

# Measured on a CPU from 2**16 to 2**21: with shorter runs the calls cost more than the work, with longer ones
# what is computed from a run leaves the cache.
_RUN_ELEMENTS = 2**19


def as_matrix(tensor: Tensor) -> Tensor:
    """View a tensor as ``[shape[0], everything else]``, or as one row where it has fewer than two dimensions.

    A copy where its strides allow no view.
    """
    return tensor.reshape(1, tensor.numel()) if tensor.ndim < 2 else tensor.flatten(1)


@dataclass(frozen=True, slots=True, eq=False)
class Weight:
    """One weight in one step.

    Args:
        parameter: as the optimizer holds it.
        values: its local part, ``[rows, width]``; a copy where the parameter's strides allow no view.
        gradient: likewise.
        averages: of the host, each ``[rows, coarse]``, views of the state.
        state: the optimizer's own, for ``step`` and ``previous_norm``.
    """

    parameter: Tensor
    values: Tensor
    gradient: Tensor
    averages: tuple[Tensor, ...]
    state: dict[str, Any]

    @classmethod
    def of(cls, parameter: Tensor, gradient: Tensor, state: dict[str, Any], names: tuple[str, ...]) -> Weight:
        """Take the local matrices of a parameter, its gradient and the averages of these names."""
        return cls(
            parameter,
            as_matrix(local_part(parameter)),
            as_matrix(local_gradient(parameter, gradient)),
            tuple(as_matrix(local_part(state[name])) for name in names),
            state,
        )

    def runs(self) -> Iterator[slice]:
        """Yield runs of rows that are small enough for a core's cache."""
        rows, width = self.values.shape
        length = max(1, _RUN_ELEMENTS // max(1, width))
        for start in range(0, rows, length):
            yield slice(start, min(rows, start + length))

    def write_back(self) -> None:
        """Put the values into the parameter, where they are a copy."""
        target = local_part(self.parameter)
        if target.data_ptr() != self.values.data_ptr():
            target.copy_(self.values.view(target.shape))


class Piece(NamedTuple):
    """Rows of one weight of a batch, with their coarse gradient ``[rows, coarse]``."""

    place: int
    rows: slice
    coarse: Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Weights of one group that are worked on together.

    Args:
        weights: of one device and one dtype.
        options: of their parameter group.
        transform: of their gradients.
        reads_scalars: whether scalars may be read back to the host.
        scale: of their updates.
        limited: whether the growth of their directions is limited.
        together: whether all weights are taken at once, or one after the other.
    """

    weights: list[Weight]
    options: Mapping[str, Any]
    transform: GradientTransform
    reads_scalars: bool
    scale: float
    limited: bool
    together: bool

    @property
    def arithmetic(self) -> torch.dtype:
        """The dtype of everything computed."""
        return arithmetic_dtype(self.weights[0].values)

    def gradient(self, index: int, rows: slice) -> Tensor:
        """Return rows of a weight's gradient, as something to descend, in the arithmetic's dtype."""
        gradient = self.weights[index].gradient[rows].to(self.arithmetic)
        return gradient.neg() if self.options["maximize"] else gradient

    def pieces(self) -> list[list[Piece]]:
        """Compress all gradients; return lists of pieces, each list to be worked on at once."""
        if self.together or not self.reads_scalars:
            return [[self._piece(index, slice(None)) for index in range(len(self.weights))]]
        return [
            [self._piece(index, rows)] for index, weight in enumerate(self.weights) for rows in weight.runs()
        ]

    def _piece(self, index: int, rows: slice) -> Piece:
        return Piece(index, rows, self.transform.compress(self.gradient(index, rows)))
