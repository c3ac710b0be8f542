"""On which side of a gradient a basis acts, and the projection there and back.

With G ``[rows, width]`` and orthonormal columns in P: on the left R = P^T G and back P N, on the right R = G
P and back N P^T, on both R = P^T G Q and back P N Q^T (arXiv:2403.03507, section 4). Rows of G and of a left
basis may be spread over processes; what a left basis makes is summed over them, and then all of them have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from graftwork_optim_core.common.sharding import Rows

Side = Literal["std", "reverse_std", "left", "right", "full"]
SIDES = ("std", "reverse_std", "left", "right", "full")
LEFT, RIGHT = "basis_left", "basis_right"
"""Names of the bases in the state."""


def bases_of(side: Side, shape: tuple[int, int]) -> tuple[str, ...]:
    """Return which bases a weight has, decided by the weight's own shape once and for all.

    >>> bases_of("std", (8, 4)), bases_of("std", (4, 8)), bases_of("full", (4, 8))
    (('basis_right',), ('basis_left',), ('basis_left', 'basis_right'))
    """
    if side == "full":
        return (LEFT, RIGHT)
    tall = shape[0] >= shape[1]
    right = side == "right" or (side == "std" and tall) or (side == "reverse_std" and not tall)
    return (RIGHT,) if right else (LEFT,)


@dataclass(frozen=True, slots=True)
class Projection:
    """One or two bases of a weight.

    Args:
        left: ``[rows, rank]``, this process's rows, or none.
        right: ``[width, rank]``, or none.
        rows: how to reach the rows of other processes.
    """

    left: Tensor | None
    right: Tensor | None
    rows: Rows

    @classmethod
    def of(cls, bases: Mapping[str, Tensor], rows: Rows) -> Projection:
        """Take the bases by their names in the state."""
        return cls(bases.get(LEFT), bases.get(RIGHT), rows)

    def down(self, gradient: Tensor) -> Tensor:
        """Return the coarse gradient."""
        if self.right is not None:
            gradient = gradient @ self.right.to(gradient.dtype)
        if self.left is not None:
            gradient = self.rows.sum(self.left.to(gradient.dtype).T @ gradient)
        return gradient

    def up(self, coarse: Tensor) -> Tensor:
        """Return a coarse matrix as a matrix of the weight's shape, of this process's rows."""
        first, second = self.factors(coarse)
        return first @ second

    def factors(self, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """Return two matrices whose product :meth:`up` is, the larger product left to be made."""
        left = None if self.left is None else self.left.to(coarse.dtype)
        if self.right is None:
            assert left is not None
            return left, coarse
        right = self.right.to(coarse.dtype).T
        return (coarse if left is None else left @ coarse), right


@dataclass(frozen=True, slots=True)
class Change:
    """From old bases to new ones: the momentum projection of arXiv:2410.11289, ``M <- P^T (P_old M)``.

    Args:
        left: ``P_new^T P_old`` of the left basis ``[rank, rank]``, or none.
        right: ``P_old^T P_new`` of the right basis, or none.
        restarts: whether averages start anew.
    """

    left: Tensor | None
    right: Tensor | None
    restarts: bool = False

    def carry(self, average: Tensor) -> Tensor:
        """Return an average in the new coordinates; unchanged where no map is given."""
        if self.left is not None:
            average = self.left.to(average.dtype) @ average
        if self.right is not None:
            average = average @ self.right.to(average.dtype)
        return average
