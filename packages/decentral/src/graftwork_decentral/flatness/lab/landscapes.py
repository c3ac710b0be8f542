"""Functions to descend: what the simulator asks of one, a quadratic and a double well.

A landscape takes points ``[..., dimension]``. The simulator hands it ``[replicas, agents, dimension]``, with
one agent for the centralized method, in float64. Where agents differ by more than a linear term, gradients
may be made per agent; they must then have an agent axis of full length whatever came in.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from graftwork_decentral.flatness.arrays import ArrayLike, as_float64, symmetric_matrix, symmetric_stack


@runtime_checkable
class Landscape(Protocol):
    """What the simulator needs of a function; bring your own."""

    @property
    def dimension(self) -> int:
        """Of a point."""
        ...

    def value(self, points: Tensor) -> Tensor:
        """Return the mean function J ``[...]`` at points ``[..., dimension]``."""
        ...

    def gradient(self, points: Tensor) -> Tensor:
        """Return gradients ``[replicas, agents, dimension]`` without noise and without linear terms."""
        ...


class Quadratic:
    """J(w) = w'Hw / 2, its minimum at zero.

    Args:
        hessian: ``[dimension, dimension]``, or ``[agents, dimension, dimension]`` for one per agent.

    Raises:
        ValueError: it is not symmetric or not square.

    >>> Quadratic([[2.0]]).value(torch.tensor([[3.0]], dtype=torch.float64))
    tensor([9.], dtype=torch.float64)
    """

    def __init__(self, hessian: ArrayLike) -> None:
        hessian = as_float64("hessian", hessian)
        if hessian.ndim == 3:
            self._hessian = symmetric_stack("hessian", hessian, hessian.shape[0])
            self._mean_hessian = self._hessian.mean(0)
        else:
            self._hessian = self._mean_hessian = symmetric_matrix("hessian", hessian)

    @property
    def dimension(self) -> int:
        """Of a point."""
        return self._mean_hessian.shape[0]

    def value(self, points: Tensor) -> Tensor:
        """Return J ``[...]``, of the mean Hessian where agents have their own."""
        return ((points @ self._mean_hessian) * points).sum(-1) / 2

    def gradient(self, points: Tensor) -> Tensor:
        """Return Hw, of each agent's own Hessian if there is one."""
        if self._hessian.ndim == 2:
            return points @ self._hessian
        return torch.einsum("kij,rkj->rki", self._hessian, points.expand(-1, len(self._hessian), -1))


class DoubleWell:
    """Two wells of equal depth on a line, one sharp and one flat.

    J(w) = -log( exp(-(w - a)^2 / (2 s^2)) + exp(-(w - b)^2 / (2 t^2)) ), derived here as a test bed.

    Args:
        sharp_centre: a, left of ``flat_centre``.
        sharp_width: s; the curvature there is close to 1 / s^2.
        flat_centre: b.
        flat_width: t.

    Raises:
        ValueError: a width is not positive, the centres are not in order, or there is no barrier between.

    >>> well = DoubleWell()
    >>> round(well.barrier, 3), round(well.height, 2)
    (-0.209, 2.02)
    """

    dimension = 1

    def __init__(
        self,
        sharp_centre: float = -1.0,
        sharp_width: float = 0.3,
        flat_centre: float = 1.5,
        flat_width: float = 0.8,
    ) -> None:
        if not (sharp_width > 0 and flat_width > 0):
            raise ValueError(f"widths must be positive, got {sharp_width} and {flat_width}")
        if not sharp_centre < flat_centre:
            raise ValueError(f"sharp_centre must be below flat_centre, got {sharp_centre} and {flat_centre}")
        self.sharp_centre, self.sharp_width = sharp_centre, sharp_width
        self.flat_centre, self.flat_width = flat_centre, flat_width
        self.barrier = self._highest_between()
        self.height = float(self.value(torch.tensor([self.barrier], dtype=torch.float64)))

    def value(self, points: Tensor) -> Tensor:
        """Return J ``[...]`` at points ``[..., 1]``."""
        sharp, flat = self._scaled(points)
        return -torch.logaddexp(-(sharp**2) / 2, -(flat**2) / 2)[..., 0]

    def gradient(self, points: Tensor) -> Tensor:
        """Return dJ/dw ``[..., 1]``: the two parabolas' slopes, weighted by how much of each is there."""
        sharp, flat = self._scaled(points)
        share = torch.sigmoid((flat**2 - sharp**2) / 2)
        flat_slope = flat / self.flat_width
        return flat_slope + share * (sharp / self.sharp_width - flat_slope)

    def in_flat_well(self, points: Tensor) -> Tensor:
        """Return whether points ``[..., 1]`` lie beyond the barrier, ``[...]``."""
        return points[..., 0] > self.barrier

    def _scaled(self, points: Tensor) -> tuple[Tensor, Tensor]:
        return (points - self.sharp_centre) / self.sharp_width, (points - self.flat_centre) / self.flat_width

    def _highest_between(self) -> float:
        grid = torch.linspace(self.sharp_centre, self.flat_centre, 4001, dtype=torch.float64)[:, None]
        peak = int(self.value(grid).argmax())
        if peak in (0, len(grid) - 1):
            raise ValueError(
                "the wells must be far enough apart, or narrow enough, for a barrier between them"
            )
        low, high = float(grid[peak - 1]), float(grid[peak + 1])
        for _ in range(60):
            middle = (low + high) / 2
            rising = float(self.gradient(torch.tensor([middle], dtype=torch.float64))) > 0
            low, high = (middle, high) if rising else (low, middle)
        return (low + high) / 2
