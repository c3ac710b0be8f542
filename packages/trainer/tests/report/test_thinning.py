"""Fewer points of a curve: what stands out stays."""

from __future__ import annotations

import math

import numpy as np

from graftwork_trainer.report.aggregate import Band, Track
from graftwork_trainer.report.thinning import places_to_keep, thin_band, thin_track

GRID = np.arange(1001.0)


def test_ends_and_extremes_stay():
    y = np.zeros(1001)
    y[500], y[700] = 9.0, -9.0
    thin = thin_track(Track(GRID, y), 50)
    assert thin.x.size <= 50
    assert {0.0, 500.0, 700.0, 1000.0} <= set(thin.x.tolist())
    assert np.all(np.diff(thin.x) > 0)


def test_breaks_stay_and_what_is_lowest_beside_them():
    y = np.ones(1001)
    y[400], y[405] = math.nan, -9.0
    thin = thin_track(Track(GRID, y), 50)
    assert {400.0, 405.0} <= set(thin.x.tolist())


def test_extremes_of_each_side_of_a_band_stay():
    low, high = np.zeros(1001), np.ones(1001)
    low[333], high[777] = -9.0, 9.0
    thin = thin_band(Band(GRID, (low + high) / 2, low, high, 3), 20)
    assert thin.x.size <= 60
    assert (thin.low.min(), thin.high.max()) == (-9.0, 9.0)
    assert thin.count == 3


def test_few_points_stay_as_they_are_and_lengths_that_do_not_divide_lose_no_end():
    assert places_to_keep(5, np.arange(5.0)).tolist() == [0, 1, 2, 3, 4]
    for count in range(6, 40):
        kept = places_to_keep(5, np.arange(float(count)))
        assert kept[0] == 0
        assert kept[-1] == count - 1
        assert kept.size <= 5
