"""What mixing needs to know of a graph, as tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True, eq=False, slots=True)
class MixPlan:
    """The rows of one process among those that it knows.

    Args:
        rows: ``[m]``, int64: positions of the own rows inside ``known``.
        neighbours: ``[m, degree]``, int64: positions of each row's neighbours, by ascending agent, padded
            with the own position.
        weights: ``[m, degree]``, float64, 0 where padded.
        dense: ``[m, known]``, float64: the same as a matrix, with the own weights.

    Raises:
        ValueError: the shapes do not fit together.

    >>> half = torch.full((2, 1), 0.5, dtype=torch.float64)
    >>> plan = MixPlan(torch.arange(2), torch.tensor([[1], [0]]), half, half.expand(2, 2))
    >>> plan.edges
    2
    """

    rows: Tensor
    neighbours: Tensor
    weights: Tensor
    dense: Tensor
    _made: dict[object, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        own = len(self.rows)
        if self.neighbours.ndim != 2 or self.neighbours.shape[0] != own:
            raise ValueError(f"neighbours must be [{own}, degree], got {tuple(self.neighbours.shape)}")
        if self.weights.shape != self.neighbours.shape:
            raise ValueError(
                f"weights must be {tuple(self.neighbours.shape)} like neighbours, "
                f"got {tuple(self.weights.shape)}"
            )
        if self.dense.ndim != 2 or self.dense.shape[0] != own:
            raise ValueError(f"dense must be [{own}, known], got {tuple(self.dense.shape)}")

    @property
    def known(self) -> int:
        """How many rows the mixed tensor has."""
        return self.dense.shape[1]

    @property
    def edges(self) -> int:
        """How many neighbours all rows have together."""
        return sum(self.degrees)

    @property
    def degrees(self) -> tuple[int, ...]:
        """How many neighbours every row has."""
        return self.made("degrees", lambda: tuple(int(count) for count in self.real.sum(dim=1)))

    @property
    def real(self) -> Tensor:
        """``[m, degree]``: which neighbours are no padding."""
        return self.neighbours != self.rows[:, None]

    def made(self, key: object, make: Callable[[], T]) -> T:
        """Return what is derived from the plan, made at the first call for a key."""
        if key not in self._made:
            self._made[key] = make()
        return cast(T, self._made[key])

    def own(self, known: Tensor) -> Tensor:
        """Return the own rows: a view where they follow each other, else a copy."""
        first = self.made("first own row", self._first)
        if first is None:
            return known.index_select(0, self.rows)
        return known[first : first + len(self.rows)]

    def to(self, device: torch.device) -> MixPlan:
        """Return the plan on a device."""
        return MixPlan(
            *(getattr(self, name).to(device) for name in ("rows", "neighbours", "weights", "dense"))
        )

    def _first(self) -> int | None:
        positions = self.rows.tolist()
        first = positions[0] if positions else 0
        return first if positions == list(range(first, first + len(positions))) else None
