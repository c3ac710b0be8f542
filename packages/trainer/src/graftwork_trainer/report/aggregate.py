"""Mean and spread over seeds, of numbers and of curves on different step grids."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from graftwork_trainer.report.curve_file import Curve

Floats = NDArray[np.float64]
Axis = Literal["step", "seconds"]


@dataclass(frozen=True, slots=True)
class Summary:
    """One number over seeds; ``deviation`` is the sample standard deviation, None for a single seed."""

    mean: float
    deviation: float | None
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class Track:
    """A curve against one axis: ``x`` increasing, shapes [points]."""

    x: Floats
    y: Floats


@dataclass(frozen=True, slots=True)
class Band:
    """Mean, lowest and highest value over seeds where all of them have values, shapes [points]."""

    x: Floats
    mean: Floats
    low: Floats
    high: Floats
    count: int


def summarize(values: Sequence[float]) -> Summary:
    """Mean, sample standard deviation and range.

    >>> summarize([1.0, 2.0, 3.0])
    Summary(mean=2.0, deviation=1.0, low=1.0, high=3.0, count=3)
    """
    if not values:
        raise ValueError("a summary needs at least one value")
    with suppress(OverflowError):  # their sum may be beyond floats
        if all(map(math.isfinite, values)):
            deviation = statistics.stdev(values) if len(values) > 1 else None
            return Summary(statistics.fmean(values), deviation, min(values), max(values), len(values))
    return Summary(math.nan, None, math.nan, math.nan, len(values))


def track(curve: Curve, axis: Axis) -> Track:
    """The curve against steps or seconds, without the points that have no place on that axis."""
    x = np.asarray(curve.steps if axis == "step" else curve.seconds, dtype=np.float64)
    y = np.asarray(curve.values, dtype=np.float64)
    placed = np.isfinite(x)
    order = np.argsort(x[placed], kind="stable")
    return Track(x[placed][order], y[placed][order])


def raw_track(curve: Curve, axis: Axis) -> Track:
    """The curve as it was recorded; where points stand for many records, from the lowest to the highest."""
    if not curve.lowest:
        return track(curve, axis)
    low, high = (track(replace(curve, values=side), axis) for side in (curve.lowest, curve.highest))
    return Track(np.repeat(low.x, 2), np.stack([low.y, high.y], axis=1).ravel())


def unbroken(whole: Track) -> list[Track]:
    """The stretches between points that are not a number, each with the one that ends it."""
    ends = np.flatnonzero(np.isnan(whole.y)) + 1
    parts = zip(np.split(whole.x, ends), np.split(whole.y, ends), strict=True)
    return [Track(x, y) for x, y in parts if x.size]


def _joined(parts: Sequence[Track]) -> Track:
    return Track(np.concatenate([part.x for part in parts]), np.concatenate([part.y for part in parts]))


def smooth(raw: Track, window: int) -> Track:
    """Centred moving average over ``window`` points, of every unbroken stretch.

    At the start, where training losses fall steeply, the window shrinks on both sides, so that the first
    point is the raw one; at the end it shrinks on the right only. Points that are not finite stay so.
    """
    if window < 2 or not raw.x.size:
        return raw
    return _joined([_smooth(part, window // 2) for part in unbroken(raw)])


def _smooth(raw: Track, half: int) -> Track:
    count = raw.y.size
    if count < 3:
        return raw
    finite = np.isfinite(raw.y)
    totals = np.concatenate([[0.0], np.cumsum(np.where(finite, raw.y, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    here = np.arange(count)
    left = np.minimum(half, here)
    stop = here + np.minimum(left, count - 1 - here) + 1
    averages = (totals[stop] - totals[here - left]) / np.maximum(counts[stop] - counts[here - left], 1)
    return Track(raw.x, np.where(finite, averages, raw.y))


def band(tracks: Sequence[Track]) -> Band | None:
    """Mean and range over tracks on the union of their grids, by linear interpolation.

    Only where every track has values: a mean over fewer seeds would jump where one of them ends.
    None where they have no stretch in common.
    """
    if not tracks or any(one.x.size == 0 for one in tracks):
        return None
    start = max(one.x[0] for one in tracks)
    end = min(one.x[-1] for one in tracks)
    grid = np.unique(np.concatenate([one.x for one in tracks] + [np.asarray([start, end])]))
    grid = grid[(grid >= start) & (grid <= end)]
    if grid.size == 0:
        return None
    stacked = np.stack([np.interp(grid, one.x, one.y) for one in tracks])
    return Band(grid, stacked.mean(axis=0), stacked.min(axis=0), stacked.max(axis=0), len(tracks))


def breaks(y: Floats) -> NDArray[np.intp]:
    """The places of points that are not a number, the first of each row of such."""
    missing = np.isnan(y)
    return np.flatnonzero(missing & ~np.concatenate([[False], missing[:-1]]))
