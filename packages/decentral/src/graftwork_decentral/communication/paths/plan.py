"""What mixing needs to know of a graph, as tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False, slots=True)
class MixPlan:
    """The rows of one process among those that it knows.

    Args:
        rows: ``[m]``, int64: positions of the own rows inside ``known``.
        neighbours: ``[m, degree]``, int64: positions of each row's neighbours, by ascending agent, padded with
            the own position.
        weights: ``[m, degree]``, float64, 0 where padded.
        dense: ``[m, known]``, float64: the same as a matrix.
    """

    rows: Tensor
    neighbours: Tensor
    weights: Tensor
    dense: Tensor

    def to(self, device: torch.device) -> MixPlan:
        """Return the plan on a device."""
        return MixPlan(
            *(getattr(self, name).to(device) for name in ("rows", "neighbours", "weights", "dense"))
        )
