"""By how much an objective rises in a random direction: E[J(w + s e)] - J(w), e uniform on the unit sphere.

Directions are taken in pairs e and -e, so that the slope cancels and what is left is the curvature's:
s^2 Tr(H) / (2 parameters) where the objective is quadratic.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graftwork_decentral.flatness.estimate import Estimate
from graftwork_decentral.flatness.metrics.flat import Objective


@torch.no_grad()
def average_direction_sharpness(
    objective: Objective, point: Tensor, distance: float, *, directions: int = 32, seed: int = 0
) -> Estimate:
    """Estimate the mean rise at a distance.

    Args:
        objective: J.
        point: ``[parameters]``.
        distance: s, positive.
        directions: pairs to take, two evaluations each.
        seed: of the directions.

    Raises:
        ValueError: an argument is out of its range.

    >>> found = average_direction_sharpness(lambda w: (w**2).sum(), torch.ones(4, dtype=torch.float64), 0.5)
    >>> round(found.value, 12)
    0.25
    """
    if not distance > 0 or directions < 1:
        raise ValueError(f"distance must be positive, directions 1 or more, got {distance} and {directions}")
    generator = torch.Generator(point.device).manual_seed(seed)
    here = objective(point).double()
    samples = []
    for _ in range(directions):
        move = torch.randn(point.shape, generator=generator, dtype=point.dtype, device=point.device)
        move *= distance / move.norm()
        samples.append((objective(point + move).double() + objective(point - move).double()) / 2 - here)
    return Estimate.of(torch.stack(samples).cpu())
