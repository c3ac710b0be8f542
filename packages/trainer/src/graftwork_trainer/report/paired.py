"""Differences between two variants, seed by seed.

Runs of one seed share initial weights and the order of the data, so that much of what differs from seed to
seed is no difference between the variants. Of ``n`` such differences the mean lies within Student's interval,
``mean ± t(n - 1) · deviation / sqrt(n)``.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

COVERAGE = 0.95
_LAST_BITS = 1e-12


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The mean of differences over ``count`` seeds, and the ends of its 95 % interval."""

    mean: float
    deviation: float
    low: float
    high: float
    count: int

    @property
    def holds_zero(self) -> bool:
        """Whether the interval does, so that neither variant is shown to be better."""
        return self.low <= 0 <= self.high

    @property
    def spreads(self) -> bool:
        """Whether the differences differ by more than their last bits."""
        return self.deviation > _LAST_BITS * abs(self.mean)


def paired_difference(values: Mapping[str, float], others: Mapping[str, float]) -> PairedDifference | None:
    """Values minus others, by seed; None where fewer than two seeds have finite ones of both.

    >>> found = paired_difference({"0": 3.0, "1": 5.0, "2": 9.0}, {"0": 1.0, "1": 2.0})
    >>> found.mean, round(found.low, 3), round(found.high, 3), found.count
    (2.5, -3.853, 8.853, 2)
    """
    both = [(values[seed], others[seed]) for seed in values if seed in others]
    found = [value - other for value, other in both if math.isfinite(value) and math.isfinite(other)]
    if len(found) < 2:
        return None
    mean, deviation = statistics.fmean(found), statistics.stdev(found)
    half = t_quantile(len(found) - 1) * deviation / math.sqrt(len(found))
    return PairedDifference(mean, deviation, mean - half, mean + half, len(found))


def t_quantile(degrees: int, coverage: float = COVERAGE) -> float:
    """Within plus or minus what lies so much of Student's distribution.

    Args:
        degrees: of freedom, 1 or more.
        coverage: in (0, 1).

    >>> [round(t_quantile(degrees), 3) for degrees in (1, 2, 4, 30)]
    [12.706, 4.303, 2.776, 2.042]
    """
    low, high = 0.0, 1.0
    while _within(high, degrees) < coverage:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < coverage else (low, middle)
    return high


def _within(t: float, degrees: int) -> float:
    """How much of Student's distribution lies within plus or minus t.

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = term if degrees > 1 else 0.0
    for place in range(2 + odd, degrees - 1, 2):
        term *= cosine**2 * (place - 1) / place
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
