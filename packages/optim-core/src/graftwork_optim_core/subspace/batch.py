"""The weights that one pass of a step works on together, as local matrices cut into runs of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from graftwork_optim_core.common.parameters import arithmetic_dtype, matrix_shape
from graftwork_optim_core.common.scalars import limit_growth
from graftwork_optim_core.common.sharding import (
    Rows,
    is_sharded_type,
    local_gradient,
    local_part,
    sharding_groups,
)
from graftwork_optim_core.subspace.plan import Plan
from graftwork_optim_core.subspace.site import Site

# Measured on a CPU from 2**16 to 2**21: with shorter runs the calls cost more than the work, with longer ones
# what is computed from a run leaves the cache.
_RUN_ELEMENTS = 2**19


Mode = Literal["alone", "together", "stacked", "fused"]
"""How the weights of a batch are taken."""


def as_matrix(tensor: Tensor) -> Tensor:
    """View a tensor as ``[shape[0], everything else]``, or as one row where it has fewer than two dimensions.

    A copy where its strides allow no view.
    """
    if tensor.ndim == 2:
        return tensor
    return tensor.reshape(1, tensor.numel()) if tensor.ndim < 2 else tensor.flatten(1)


class WeightKind(NamedTuple):
    """What weights of one shape and one rule have in common.

    Args:
        shape: as a matrix, of the whole weight.
        host: names of the host's slots.
        transform: names of the transform's.
        mixes_rows: whether the coarse gradient of a row comes from other rows too.
    """

    shape: tuple[int, int]
    host: tuple[str, ...]
    transform: tuple[str, ...]
    mixes_rows: bool

    @classmethod
    def of(cls, parameter: Tensor, plan: Plan) -> WeightKind:
        """Ask a weight's host and transform."""
        shape, transform = matrix_shape(parameter), plan.transform
        slots = plan.host.slots(transform.coarse_shape(shape))
        return cls(shape, tuple(slots), tuple(transform.slots(shape)), not transform.keeps_rows(shape))


@dataclass(frozen=True, slots=True, eq=False)
class Weight:
    """One weight in one step.

    Args:
        parameter: as the optimizer holds it.
        values: its local part, ``[rows, width]``; a copy where the parameter's strides allow no view.
        gradient: likewise.
        averages: the host's slots, local parts as matrices, views of the state.
        state: the optimizer's own, for ``step`` and ``previous_norm``.
        site: as the host and the transform see it.
    """

    parameter: Tensor
    values: Tensor
    gradient: Tensor
    averages: tuple[Tensor, ...]
    state: dict[str, Any]
    site: Site

    @classmethod
    def of(
        cls, parameter: Tensor, gradient: Tensor, state: dict[str, Any], index: int, kind: WeightKind
    ) -> Weight:
        """Take the local matrices of a parameter, its gradient and its state."""
        if is_sharded_type(parameter):
            values, gradient = local_part(parameter), local_gradient(parameter, gradient)
            averages = tuple([as_matrix(local_part(state[key])) for key in kind.host])
            own = {key: as_matrix(local_part(state[key])) for key in kind.transform}
        else:
            values = parameter
            averages = tuple([as_matrix(state[key]) for key in kind.host])
            own = {key: as_matrix(state[key]) for key in kind.transform}
        return cls(
            parameter,
            as_matrix(values),
            as_matrix(gradient),
            averages,
            state,
            Site(kind.shape, Rows(parameter), index, own, kind.mixes_rows),
        )

    def runs(self) -> Iterator[slice]:
        """Yield runs of rows that are small enough for a core's cache."""
        rows, width = self.values.shape
        length = max(1, _RUN_ELEMENTS // max(1, width))
        for start in range(0, rows, length):
            yield slice(start, min(rows, start + length))

    def write_back(self) -> None:
        """Put the values into the parameter, where they are a copy."""
        if self.values is self.parameter:
            return
        target = local_part(self.parameter)
        if target.data_ptr() != self.values.data_ptr():
            target.copy_(self.values.view(target.shape))


class Piece(NamedTuple):
    """Rows of one weight of a batch, with their coarse gradient ``[rows, coarse]``."""

    weight_index: int
    rows: slice
    coarse: Tensor


@dataclass(frozen=True, slots=True)
class WeightBatch:
    """Weights of one group that are worked on together.

    Args:
        weights: of one device and one dtype.
        options: of their parameter group.
        plan: the rule that they follow.
        reads_scalars: whether scalars may be read back to the host.
        mode: "alone" for one weight; "together" for lists of them; "stacked" for small ones of one width that
            are taken as one matrix; "fused" for those whose step a kernel makes.
    """

    weights: list[Weight]
    options: Mapping[str, Any]
    plan: Plan
    reads_scalars: bool
    mode: Mode = "alone"

    @property
    def arithmetic(self) -> torch.dtype:
        """The dtype of everything computed."""
        return arithmetic_dtype(self.weights[0].values)

    @property
    def awaits_sums(self) -> bool:
        """Whether norms and verdicts must be summed over processes before a weight may move."""
        weight = self.weights[0]
        spread = bool(sharding_groups(weight.parameter))
        return spread and self.plan.transform.keeps_rows(weight.site.shape)

    def limited(self, norms: Tensor, gate: Tensor) -> Tensor:
        """Return by what the limiter divides directions of these norms, and remember those that pass."""
        limit = self.plan.norm_growth_limit
        assert limit is not None
        remembered = [weight.state["previous_norm"] for weight in self.weights]
        former = torch.stack(remembered)
        divisors, new = limit_growth(norms.to(former.dtype), former, limit)
        torch._foreach_copy_(remembered, list(torch.where(gate, new, former).unbind()))
        return torch.as_tensor(divisors)

    def gradient(self, index: int, rows: slice = slice(None)) -> Tensor:
        """Return rows of a weight's gradient, as something to descend, in the arithmetic's dtype."""
        gradient = self.weights[index].gradient[rows].to(self.arithmetic)
        return gradient.neg() if self.options["maximize"] else gradient

    def pieces(self) -> list[list[Piece]]:
        """Compress all gradients; return lists of pieces, each list to be worked on at once."""
        whole = slice(None)
        if self.mode == "together" or not self.reads_scalars or not self.plan.row_wise:
            return [[self._piece(index, whole) for index in range(len(self.weights))]]
        return [
            [self._piece(index, rows)] for index, weight in enumerate(self.weights) for rows in weight.runs()
        ]

    def _piece(self, index: int, rows: slice) -> Piece:
        gradient = self.gradient(index, rows)
        return Piece(index, rows, self.plan.transform.compress(gradient, self.weights[index].site))

    def stored(self, pieces: list[Piece]) -> list[list[Tensor]]:
        """Return the host's slots of some pieces, one list a slot."""
        count = len(self.weights[0].averages)
        return [
            [self.weights[p.weight_index].averages[number][p.rows] for p in pieces] for number in range(count)
        ]

    def sites(self, pieces: list[Piece]) -> list[Site]:
        """Return the sites of some pieces."""
        return [self.weights[piece.weight_index].site for piece in pieces]
