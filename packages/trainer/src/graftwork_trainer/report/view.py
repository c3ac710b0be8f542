"""What of a metric's values a figure shows: the part that tells the variants apart.

A loss falls from where every model starts to where these ended, and an axis from the one to the other shows
all ends on one another. So the axis of a metric that has a direction is cut to the values of a later part, as
long a part as keeps the ends apart, with room for how the lines came there. It is logarithmic where that part
alone spans much.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from graftwork import Direction
from graftwork_trainer.report.aggregate import Floats, Track

LOGARITHMIC_FROM = 8.0
_PARTS_CUT_OFF = (0.2, 0.35, 0.5)
_APART = 0.15
_ROOM_FOR_THE_DESCENT = 0.5
_MARGIN = 0.06
# Of a line of fewer points, each is worth seeing.
_FEWEST_POINTS = 8


@dataclass(frozen=True, slots=True)
class View:
    """The vertical axis of a figure.

    Args:
        logarithmic: or linear.
        low: the least value shown; None for as far as the values go.
        high: the largest value shown; None likewise.
        edge: where the axis is cut, None where it is not.
        beyond: the value farthest off the axis, likewise.
    """

    logarithmic: bool
    low: float | None = None
    high: float | None = None
    edge: float | None = None
    beyond: float | None = None

    def shows(self, value: float) -> bool:
        """Whether a value is on the axis."""
        return self.low is None or self.high is None or self.low <= value <= self.high


def choose_view(lines: Sequence[Track], better: Direction | None, *, ends: Sequence[float] = ()) -> View:
    """The view of lines on one axis.

    Args:
        lines: what has to be seen to its end, shapes [points].
        better: the metric's direction; without one everything is shown, since its start may be what matters.
        ends: where the variants ended, to be told apart.
    """
    values = _finite(np.concatenate([one.y for one in lines])) if lines else np.empty(0)
    if values.size == 0:
        return View(logarithmic=False)
    whole = _whole(values)
    if better is None or max(one.y.size for one in lines) < _FEWEST_POINTS:
        return whole
    late = _late_part(lines, ends)
    if late.size == 0:
        return whole
    logarithmic = _wide(late) and bool(values.min() > 0)
    forward: Callable[[float], float] = math.log if logarithmic else float
    backward: Callable[[float], float] = _exponential if logarithmic else float
    low, high = forward(late.min()), forward(late.max())
    extent = high - low
    farthest = float(values.max() if better == "lower" else values.min())
    off = forward(farthest) - high if better == "lower" else low - forward(farthest)
    if extent <= 0 or off <= (1 + _ROOM_FOR_THE_DESCENT) * extent:
        return whole
    low -= extent * (_MARGIN if better == "lower" else _ROOM_FOR_THE_DESCENT)
    high += extent * (_MARGIN if better == "higher" else _ROOM_FOR_THE_DESCENT)
    low, high = backward(low), backward(high)
    return View(logarithmic, low, high, high if better == "lower" else low, farthest)


def _whole(values: Floats) -> View:
    """All values, with a margin; the axis' own choice where there is one value only."""
    logarithmic = _wide(values)
    forward: Callable[[float], float] = math.log if logarithmic else float
    backward: Callable[[float], float] = _exponential if logarithmic else float
    low, high = forward(values.min()), forward(values.max())
    margin = _MARGIN * (high - low)
    return View(logarithmic, backward(low - margin), backward(high + margin)) if margin else View(logarithmic)


def _late_part(lines: Sequence[Track], ends: Sequence[float]) -> Floats:
    """The values from some step on: most of the way where that leaves the ends apart, else half of it."""
    drawn = [one for one in lines if np.isfinite(one.y).any()]
    start, end = min(one.x[0] for one in drawn), max(one.x[-1] for one in drawn)
    apart = max(ends) - min(ends) if ends else 0.0
    late = np.empty(0)
    for part in _PARTS_CUT_OFF:
        from_here = start + part * (end - start)
        late = _finite(np.concatenate([one.y[one.x >= from_here] for one in drawn]))
        if late.size and (apart >= _APART * np.ptp(late) or len(ends) < 2):
            break
    return late


def _exponential(value: float) -> float:
    """As far as floats go: a margin may lead beyond."""
    return math.exp(min(value, math.log(sys.float_info.max)))


def _finite(values: Floats) -> Floats:
    return values[np.isfinite(values)]


def _wide(values: Floats) -> bool:
    """Whether equal steps on a linear axis would leave most of the values in its lowest eighth."""
    return bool(values.size and values.min() > 0 and values.max() / values.min() > LOGARITHMIC_FROM)
