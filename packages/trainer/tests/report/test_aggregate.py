"""Means and spreads, against arithmetic done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from graftwork_trainer.report.aggregate import Track, band, smooth, summarize, track
from graftwork_trainer.report.curve_file import Curve


def points(x, y):
    return Track(np.asarray(x, dtype=float), np.asarray(y, dtype=float))


def test_summary_has_the_sample_standard_deviation():
    summary = summarize([40.0, 40.2, 40.7])
    assert summary.mean == pytest.approx(40.3)
    assert summary.deviation == pytest.approx(math.sqrt((0.3**2 + 0.1**2 + 0.4**2) / 2))
    assert (summary.low, summary.high, summary.count) == (40.0, 40.7, 3)


def test_a_single_seed_has_no_spread_and_a_diverged_one_no_mean():
    assert summarize([4.0]).deviation is None
    assert math.isnan(summarize([4.0, math.inf]).mean)
    with pytest.raises(ValueError, match="at least one value"):
        summarize([])


def test_band_interpolates_between_different_grids_where_all_have_values():
    found = band([points([0, 10, 20], [0.0, 10.0, 20.0]), points([5, 15, 25], [100.0, 200.0, 300.0])])
    assert found is not None
    np.testing.assert_allclose(found.x, [5, 10, 15, 20])
    np.testing.assert_allclose(found.low, [5, 10, 15, 20])
    np.testing.assert_allclose(found.high, [100, 150, 200, 250])
    np.testing.assert_allclose(found.mean, [52.5, 80, 107.5, 135])
    assert found.count == 2


def test_band_of_curves_that_never_meet_is_none():
    assert band([points([0, 1], [0, 0]), points([2, 3], [0, 0])]) is None
    assert band([]) is None


def test_track_drops_what_has_no_place_on_the_axis_and_sorts_the_rest():
    curve = Curve(steps=(1, 2, 3), seconds=(9.0, math.nan, 4.0), values=(10.0, 20.0, 30.0))
    by_time = track(curve, "seconds")
    assert (by_time.x.tolist(), by_time.y.tolist()) == ([4.0, 9.0], [30.0, 10.0])
    assert track(curve, "step").y.tolist() == [10.0, 20.0, 30.0]


def test_moving_average_by_hand():
    smoothed = smooth(points(range(6), [6.0, 0.0, 3.0, 9.0, 0.0, 3.0]), 3)
    np.testing.assert_allclose(smoothed.y, [6.0, 3.0, 4.0, 4.0, 4.0, 1.5])


def test_moving_average_goes_around_what_is_not_finite():
    smoothed = smooth(points(range(5), [1.0, 3.0, math.inf, 5.0, 7.0]), 3)
    np.testing.assert_allclose(smoothed.y, [1.0, 2.0, math.inf, 6.0, 6.0])


def test_moving_average_begins_anew_where_a_curve_breaks():
    smoothed = smooth(points(range(7), [6.0, 0.0, 3.0, math.nan, 90.0, 0.0, 30.0]), 3)
    np.testing.assert_allclose(smoothed.y, [6.0, 3.0, 1.5, math.nan, 90.0, 40.0, 15.0])


def test_a_sum_beyond_floats_has_no_mean():
    assert math.isnan(summarize([1.7e308, 1.7e308]).mean)
