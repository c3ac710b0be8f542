"""Bars of the time of a step."""

from __future__ import annotations

import pytest

from graftwork_trainer.report import group_runs, read_run
from graftwork_trainer.report.drawing import NARROW, WIDE
from graftwork_trainer.report.palette import choose_palette
from graftwork_trainer.report.step_times import exhibit
from graftwork_trainer.report.table import build_table


@pytest.fixture
def plan(write_run, result_of):
    def planned(*timings):
        paths = [
            write_run(
                f"r{place}", optimizer={"name": f"opt-{place}"}, result=result_of(40.0, step_seconds=timing)
            )
            for place, timing in enumerate(timings)
        ]
        variants = group_runs(map(read_run, paths))
        return exhibit(variants, choose_palette(build_table(variants)))

    return planned


@pytest.mark.parametrize("timings", [({"median": 0.08, "p10": 0.07, "p90": 0.1},), ({"median": 0.08}, None)])
def test_a_single_bar_is_not_drawn(plan, timings):
    assert plan(*timings) is None


def test_names_and_values_stand_above_the_bars_and_not_at_the_whiskers(plan):
    (plot,) = plan(
        {"median": 0.08, "p10": 0.07, "p90": 0.1}, {"median": 0.09, "p10": 0.08, "p90": 0.12}
    ).plots
    drawing = plot.draw(WIDE, "", "")
    (axes,) = drawing.figure.axes
    drawing.figure.canvas.draw()
    bars = [bar.get_window_extent() for bar in axes.patches]
    named = {text.get_text(): text.get_window_extent() for text in axes.texts}
    assert set(named) == {"opt-0", "80.00 ms", "opt-1", "90.00 ms"}
    assert not any(bar.overlaps(box) for bar in bars for box in named.values())
    assert [spot.text for spot in drawing.spots] == [
        "opt-0: median step 80.00 ms, 10th to 90th percentile 70.00 ms to 100.0 ms, optimizer 10.00 ms",
        "opt-1: median step 90.00 ms, 10th to 90th percentile 80.00 ms to 120.0 ms, optimizer 10.00 ms",
    ]


def test_a_very_long_whisker_leaves_the_axis_instead_of_shrinking_the_bars(plan):
    (plot,) = plan(
        {"median": 0.08, "p10": 0.07, "p90": 9.0}, {"median": 0.09, "p10": 0.08, "p90": 0.12}
    ).plots
    (axes,) = plot.draw(WIDE, "", "").figure.axes
    assert axes.get_xlim() == (0.0, pytest.approx(1.8 * 90))
    assert "An arrow: it goes on beyond the axis." in plot.note


def test_names_of_bars_that_are_cut_differ(write_run, result_of):
    optimizers = [
        {"name": "adamw", "lr": rate, "weight_decay": decay, "a_longer_option": 1e-5 * decay}
        for rate in (0.001, 0.002)
        for decay in (0.05, 0.1, 0.2)
    ]
    paths = [
        write_run(f"{place}-20260101-120000", optimizer=optimizer, result=result_of(40.0))
        for place, optimizer in enumerate(optimizers)
    ]
    variants = group_runs(map(read_run, paths))
    found = exhibit(variants, choose_palette(build_table(variants)))
    assert found is not None
    (axes,) = found.plots[0].draw(NARROW, "", "").figure.axes
    names = [text.get_text() for text in axes.texts if not text.get_text().endswith(" ms")]
    assert len(set(names)) == 6


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_what_is_not_finite_is_left_out(plan, size):
    inf, nan = float("inf"), float("nan")
    good = {"median": 0.08, "p10": 0.07, "p90": 0.1}
    found = plan(good, good | {"p90": inf}, good | {"p10": nan}, good | {"median": nan}, {"median": inf})
    (axes,) = found.plots[0].draw(size, "", "").figure.axes
    assert {text.get_text() for text in axes.texts} == {"opt-0", "opt-1", "opt-2", "80.00 ms"}
    assert axes.get_xlim() == (0.0, pytest.approx(100.0))
