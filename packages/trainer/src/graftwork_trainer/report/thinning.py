"""Fewer points of a curve for drawing, without losing what stands out: highest and lowest values stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from graftwork_trainer.report.aggregate import Band, Floats, Track, breaks

Places = NDArray[np.intp]


def thin_track(whole: Track, most_points: int) -> Track:
    """At most ``most_points`` points, and those where the track breaks."""
    kept = places_to_keep(most_points, whole.y)
    return Track(whole.x[kept], whole.y[kept])


def thin_band(whole: Band, most_points: int) -> Band:
    """At most ``most_points`` points for each of mean, low and high, and those where the mean breaks."""
    sides = (whole.low, whole.high) if whole.count > 1 else ()
    kept = places_to_keep(most_points, whole.mean, *sides)
    return replace(whole, x=whole.x[kept], mean=whole.mean[kept], low=whole.low[kept], high=whole.high[kept])


def places_to_keep(most_points: int, *series: Floats) -> Places:
    """Which points of series over one grid to draw, in order.

    Args:
        most_points: to keep for each, besides those at which the first series breaks.
        series: values, shapes [points]; each keeps its extremes of every stretch.
    """
    count = series[0].size
    if count <= most_points:
        return np.arange(count)
    kept = [np.asarray([0, count - 1]), breaks(series[0])]
    stretches = max(1, (most_points - 2) // 2)
    width = -(-(count - 2) // stretches)
    for values in series:
        inner = values[1:-1]
        for filling, choose in ((np.inf, np.argmin), (-np.inf, np.argmax)):
            padded = np.full(width * stretches, filling)
            padded[: inner.size] = np.where(np.isnan(inner), filling, inner)
            chosen = choose(padded.reshape(stretches, width), axis=1) + width * np.arange(stretches) + 1
            kept.append(chosen[chosen < count])
    return np.unique(np.concatenate(kept))
