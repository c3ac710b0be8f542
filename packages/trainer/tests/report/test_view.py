"""What of a metric's values the vertical axis shows."""

from __future__ import annotations

import numpy as np
import pytest

from graftwork_trainer.report.aggregate import Track
from graftwork_trainer.report.view import choose_view

STEPS = np.linspace(0, 600, 61)


def falling(end, start=300.0, x=STEPS):
    """From ``start`` towards ``end``, most of the way in the first tenth."""
    return Track(x, end + (start - end) * np.exp(-x / 40) + 0.02 * end * (1 - x / 600))


def height_between(view, first, second):
    """How far two values are apart, as a share of the axis."""
    scale = np.log if view.logarithmic else float
    return abs(scale(first) - scale(second)) / (scale(view.high) - scale(view.low))


def test_ends_that_are_a_few_percent_apart_are_told_apart():
    view = choose_view([falling(40.0), falling(42.0)], "lower", ends=[40.0, 42.0])
    assert height_between(view, 40.0, 42.0) > 0.15
    assert height_between(choose_view([falling(40.0), falling(42.0)], None), 40.0, 42.0) < 0.05
    assert view.shows(40.0)
    assert view.shows(42.0)


def test_few_points_are_all_shown():
    few = Track(np.array([20.0, 40.0, 60.0]), np.array([1.6, 1.4545, 1.452]))
    assert choose_view([few], "lower").beyond is None


def test_what_is_cut_off_is_said_with_where():
    view = choose_view([falling(40.0), falling(42.0)], "lower")
    assert not view.shows(300.0)
    assert view.edge == view.high
    assert view.beyond == pytest.approx(300.0, rel=0.01)
    rising = [Track(one.x, -one.y) for one in (falling(40.0), falling(42.0))]
    view = choose_view(rising, "higher")
    assert view.edge == view.low
    assert view.beyond == pytest.approx(-300.0, rel=0.01)


def test_one_line_is_shown_from_early_on():
    view = choose_view([falling(40.0)], "lower")
    assert view.shows(float(np.interp(150, STEPS, falling(40.0).y)))


def test_a_metric_without_a_direction_is_shown_whole():
    warmup = Track(STEPS, np.minimum(STEPS / 60, 1 - STEPS / 700))
    view = choose_view([warmup], None)
    assert view.shows(float(warmup.y.max()))
    assert view.shows(float(warmup.y.min()))
    assert view.beyond is None


def test_lines_that_are_not_compared_leave_those_that_are_apart():
    lines = [falling(40.0), falling(42.0), falling(20.0)]
    compared = choose_view(lines, "lower", ends=[40.0, 42.0])
    assert height_between(compared, 40.0, 42.0) > height_between(choose_view(lines, "lower"), 40.0, 42.0)
    assert compared.shows(20.0)


def test_ends_that_are_far_apart_are_on_a_logarithmic_axis():
    view = choose_view([falling(40.0), falling(4000.0, start=5000.0)], "lower")
    assert view.logarithmic
    assert view.shows(40.0)
    assert view.shows(4000.0)


def test_values_that_hardly_change_are_not_cut_and_single_ones_leave_the_axis_its_own_choice():
    steady = Track(STEPS, np.linspace(2.0, 1.0, 61))
    assert choose_view([steady], "lower").beyond is None
    flat = choose_view([Track(STEPS, np.full(61, 3.0))], "lower")
    assert (flat.low, flat.high) == (None, None)
    assert flat.shows(3.0)


@pytest.mark.parametrize("better", ["lower", "higher", None])
def test_values_that_are_not_finite_decide_nothing(better):
    broken = falling(40.0)
    broken.y[[3, 50]] = np.nan, np.inf
    view = choose_view([broken, Track(STEPS, np.full(61, np.nan))], better)
    assert view.low is not None
    assert view.high is not None
    assert np.isfinite([view.low, view.high]).all()
    nothing = choose_view([Track(STEPS, np.full(61, np.nan))], better)
    assert (nothing.low, nothing.high) == (None, None)
    assert choose_view([], better).low is None


def test_values_as_large_as_floats_go_have_an_axis():
    view = choose_view([Track(STEPS, np.geomspace(1e308, 4.0, 61))], "lower")
    assert view.logarithmic
    assert view.shows(4.0)
