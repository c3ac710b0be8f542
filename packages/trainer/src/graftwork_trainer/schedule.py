"""Learning-rate schedules: a linear warm-up, then constant, linear or cosine."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

Schedule = Literal["constant", "linear", "cosine"]


def lr_factor(
    schedule: Schedule, *, steps: int | None, warmup_steps: int, final_fraction: float
) -> Callable[..., float]:
    """Return the factor on the base learning rate at a step counted from 0.

    The warm-up rises from ``1 / warmup_steps`` to 1, so that the first step moves; the decay reaches
    ``final_fraction`` at the last step. A second argument, the part of the time that is over, takes the decay
    as far where the steps are not there yet, or nobody knows how many there are (None).

    >>> factor = lr_factor("linear", steps=5, warmup_steps=2, final_fraction=0.0)
    >>> [factor(step) for step in range(5)]
    [0.5, 1.0, 0.6666666666666667, 0.33333333333333337, 0.0]
    >>> factor(2, 0.75), factor(4, 0.75)
    (0.25, 0.0)
    """

    def factor(step: int, time_over: float = 0.0) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        if schedule == "constant":
            return 1.0
        last_warm = max(warmup_steps - 1, 0)
        of_steps = 0.0 if steps is None else (step - last_warm) / max(steps - 1 - last_warm, 1)
        done = min(max(of_steps, time_over), 1.0)
        left = 1 - done if schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
        return final_fraction + (1 - final_fraction) * left

    return factor
