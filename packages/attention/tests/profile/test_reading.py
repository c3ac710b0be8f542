"""What is read off curves: slopes and crossings of curves whose answers are known."""

from __future__ import annotations

import math

import pytest

from graftwork_attention.profile.reading import Crossing, crossing, fastest, nearest, slope

LENGTHS = (128, 512, 1024, 4096)


def power(exponent: float, factor: float = 1.0) -> dict[int, float]:
    return {length: factor * length**exponent for length in LENGTHS}


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.5, 2.0])
def test_the_slope_of_a_power_law_is_its_exponent(exponent: float) -> None:
    assert slope(power(exponent, 3e-5)) == pytest.approx(exponent)


def test_one_point_has_no_slope() -> None:
    assert math.isnan(slope({128: 1.0}))


@pytest.mark.parametrize("at", [200.0, 700.0, 3000.0])
def test_a_linear_cost_falls_below_a_quadratic_one_where_both_are_equal(at: float) -> None:
    found = crossing(power(1), power(2, 1 / at))
    assert (found.kind, found.at) == ("falls", pytest.approx(at))
    back = crossing(power(2, 1 / at), power(1))
    assert (back.kind, back.at) == ("rises", pytest.approx(at))


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        (power(1), power(1, 2), "below"),
        (power(1, 2), power(1), "above"),
        (power(1, 1.01), power(1), "alike"),
        ({}, power(1), "unknown"),
        ({64: 1.0}, power(1), "unknown"),
    ],
)
def test_curves_that_do_not_cross(one: dict[int, float], other: dict[int, float], kind: str) -> None:
    found = crossing(one, other)
    assert found.kind == kind
    assert math.isnan(found.at)


def test_of_several_crossings_the_last_counts() -> None:
    one, other = {1: 2.0, 2: 0.5, 4: 2.0, 8: 0.5}, dict.fromkeys((1, 2, 4, 8), 1.0)
    assert crossing(one, other) == Crossing("falls", pytest.approx(4 * 2**0.5))


def test_only_lengths_that_both_have_count() -> None:
    assert crossing({128: 1.0, 4096: 1.0}, {128: 2.0, 512: 0.1}).kind == "below"


def test_numbers_of_tokens_are_told_as_far_as_they_are_known() -> None:
    assert [nearest(value) for value in (7.2, 99.6, 1250, 18_499.0)] == ["7", "100", "1,200", "18,000"]


def test_what_has_no_figure_at_a_length_is_in_no_order() -> None:
    assert fastest({"a": {4: 2.0}, "b": {4: 1.0}, "c": {8: 0.5}}, 4) == ["b", "a"]
