"""The final metric against the optimizer's state."""

from __future__ import annotations

import math

import pytest

from graftwork_trainer.report import group_runs, read_run
from graftwork_trainer.report.drawing import WIDE
from graftwork_trainer.report.palette import choose_palette
from graftwork_trainer.report.table import build_table
from graftwork_trainer.report.trade_off import exhibit


def planned(paths):
    table = build_table(group_runs(map(read_run, paths)))
    return exhibit(table, choose_palette(table))


def test_points_say_both_numbers(two_variants):
    found = planned(two_variants)
    assert found is not None
    drawing = found.plots[0].draw(WIDE, "", "")
    assert [spot.text for spot in drawing.spots] == [
        "adamw: perplexity 40.2 ± 0.2, optimizer state 8.000 MiB",
        "gwt-adamw: perplexity 41.3 ± 0.3, optimizer state 2.000 MiB",
    ]
    assert found.plots[0].note == "Lower left is better. Bars: one standard deviation over seeds either way."


def test_where_all_have_one_state_there_is_nothing_to_trade(write_run, result_of):
    paths = [write_run(name, optimizer={"name": name}, result=result_of(40.0)) for name in ("adamw", "lion")]
    assert planned(paths) is None


@pytest.mark.parametrize("state", [math.nan, math.inf])
def test_what_is_not_finite_is_left_out(write_run, result_of, state):
    results = {
        "adamw": result_of(40.0),
        "lion": result_of(41.0, optimizer_state_bytes=1024, peak_memory_bytes=math.inf),
        "sgd": result_of(42.0, optimizer_state_bytes=state),
        "sign": result_of(math.nan, optimizer_state_bytes=2048),
    }
    found = planned(
        [write_run(name, optimizer={"name": name}, result=result) for name, result in results.items()]
    )
    assert found is not None
    drawing = found.plots[0].draw(WIDE, "", "")
    assert [spot.text.partition(":")[0] for spot in drawing.spots] == ["adamw", "lion"]
