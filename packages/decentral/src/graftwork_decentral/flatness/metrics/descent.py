"""The minimum near a point: gradient descent without noise, its step halved wherever it would rise.

Flatness depends on how far training has come, so that methods are compared at the bottom below their points.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graftwork_decentral.flatness.metrics.flat import Objective
from graftwork_decentral.flatness.metrics.gradients import gradient

_GROWTH = 1.2


def noiseless_descent(
    objective: Objective, point: Tensor, *, steps: int, learning_rate: float = 0.1
) -> tuple[Tensor, float]:
    """Descend from a point, never upwards.

    Args:
        objective: the same at every call.
        point: ``[parameters]``.
        steps: gradients to take.
        learning_rate: of the first step; it grows where steps descend and halves where they would not.

    Returns:
        Where it ends, and the objective there.

    Raises:
        ValueError: an argument is out of its range.

    >>> point, value = noiseless_descent(lambda w: (w - 3).square().sum(), torch.zeros(1), steps=50)
    >>> round(float(point), 3), round(value, 6)
    (3.0, 0.0)
    """
    if steps < 0 or not learning_rate > 0:
        raise ValueError(f"steps must be 0 or more, learning_rate positive, got {steps} and {learning_rate}")
    point = point.detach().clone()
    with torch.no_grad():
        value = float(objective(point))
    for _ in range(steps):
        slope = gradient(objective, point)
        while learning_rate > 0:
            trial = point - learning_rate * slope
            with torch.no_grad():
                reached = float(objective(trial))
            if reached <= value:
                break
            learning_rate /= 2
        if learning_rate == 0 or torch.equal(trial, point):
            break
        point, value, learning_rate = trial, reached, learning_rate * _GROWTH
    return point, value
