"""Figures of a metric: what is drawn, said under the pointer, and written on the axes.

Reached from here: ``report/strand_marks.py``, ``report/strands.py``.
"""

from __future__ import annotations

import math

import pytest

from graftwork_trainer.report import group_runs, read_run
from graftwork_trainer.report.curves import exhibit, training_beside
from graftwork_trainer.report.drawing import NARROW, WIDE
from graftwork_trainer.report.palette import choose_palette
from graftwork_trainer.report.table import build_table

LOSS = "validation/loss"


def lines_to(end, steps=600, every=20):
    """Validation and training losses that fall from 9 to ``end`` and a little below."""
    lines = []
    for step in range(every, steps + 1, every):
        loss = end + (9 - end) * math.exp(-step / 40) + 0.2 * (1 - step / steps)
        lines.append({"step": step, "seconds": step / 10, LOSS: loss, "train/loss": loss - 0.3})
    return lines


@pytest.fixture
def draw(write_run, result_of):
    """A function that draws one metric of runs, each given as name, end and changes."""

    def drawn(*runs, metric=LOSS, better="lower", axis="step", size=WIDE):
        paths = [
            write_run(
                f"{name}-{place}",
                optimizer={"name": name},
                **{"metrics": lines_to(end), "result": result_of(40.0)} | changes,
            )
            for place, (name, end, changes) in enumerate(runs)
        ]
        variants = group_runs(map(read_run, paths))
        palette = choose_palette(build_table(variants))
        found = exhibit(metric, variants, palette, axes=[axis], better=better, leading=True)
        assert found is not None
        (plot,) = found.plots
        return found, plot, plot.draw(size, "", "")

    return drawn


def texts(drawing):
    (axes,) = drawing.figure.axes
    return [text.get_text() for text in (*axes.texts, *drawing.figure.texts)]


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_ends_are_apart_on_the_axis_and_what_is_cut_is_said_on_it(draw, size):
    _, _, drawing = draw(("adamw", 3.00, {}), ("gwt", 3.03, {}), size=size)
    (axes,) = drawing.figure.axes
    low, high = axes.get_ylim()
    assert 0.03 / (high - low) > 0.04
    (title,) = [text for text in texts(drawing) if text.startswith("loss ↓, axis cut at ")]
    assert "values up to " in title


def test_training_is_drawn_thin_beside_validation(draw):
    found, plot, drawing = draw(("adamw", 3.0, {}), ("gwt", 3.2, {}))
    assert found.title == "Validation and training loss"
    assert plot.title == "Validation and training loss by step"
    assert "Thin: on training data." in plot.note
    assert sorted(line.get_linewidth() for line in drawing.figure.axes[0].lines) == [1.0, 1.0, 2.0, 2.0]
    assert {"adamw", "gwt"} <= set(texts(drawing))


def test_of_one_variant_the_two_lines_say_which_they_are(draw):
    _, _, drawing = draw(("adamw", 3.0, {}))
    assert {"validation", "training"} <= set(texts(drawing))
    assert "adamw" not in texts(drawing)


def test_training_stands_beside_few_variants_alone(write_run):
    runs = [
        read_run(write_run(f"r{place}", optimizer={"name": "a", "lr": place / 8}, metrics=lines_to(3.0)))
        for place in range(7)
    ]
    assert training_beside(LOSS, group_runs(runs[:6])) == "train/loss"
    assert training_beside(LOSS, group_runs(runs)) is None
    assert training_beside("train/loss", group_runs(runs[:1])) is None
    assert training_beside("validation/accuracy", group_runs(runs[:1])) is None


def test_points_say_variant_step_and_value_over_seeds(draw):
    _, _, drawing = draw(("adamw", 3.0, {"seed": 0}), ("adamw", 3.2, {"seed": 1}))
    said = [spot.text for spot in drawing.spots]
    assert "validation, step 600: 3.100 (3.000 to 3.200 over 2 seeds)" in said
    assert "validation, training, step 600: 2.800 (2.700 to 2.900 over 2 seeds)" in said
    assert all(0 <= spot.x <= WIDE.width and 0 <= spot.y <= WIDE.height for spot in drawing.spots)


def test_by_wall_time_points_say_when(draw):
    _, plot, drawing = draw(("adamw", 3.0, {}), axis="seconds")
    assert plot.name == "validation-loss-by-wall-time"
    assert any(spot.text.startswith("validation, 1 min: 3.000") for spot in drawing.spots)


def test_a_run_that_failed_does_not_stretch_the_axis_of_those_that_ended(draw):
    high = [{"step": step, LOSS: 5.0 + step} for step in (20, 40, 60)]
    failed = {"metrics": high, "result": {"status": "failed", "steps": 60}}
    _, plot, drawing = draw(("adamw", 3.0, {}), ("gwt", 3.1, {}), ("lozo", 9.0, failed))
    assert drawing.figure.axes[0].get_ylim()[1] < 9
    assert "lozo (failed) ↑" in texts(drawing)
    assert "An arrow beside a name: it ends beyond the axis." in plot.note
    assert "A cross ends a run" in plot.note


def test_a_metric_without_a_direction_has_no_arrow_and_is_shown_whole(draw):
    _, _, drawing = draw(("adamw", 3.0, {}), ("gwt", 3.1, {}), better=None)
    assert drawing.figure.axes[0].get_ylim()[1] > 6
    assert "loss" in texts(drawing)


def test_names_never_run_beyond_the_figure(draw):
    _, _, drawing = draw(("adamw", 3.0, {}), ("an-optimizer-of-a-long-name-indeed", 3.1, {}))
    drawing.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in drawing.figure.axes[0].texts]
    assert boxes
    assert all(box.x1 <= drawing.figure.bbox.width for box in boxes)


def test_many_variants_cost_one_collection_and_few_points(write_run, result_of):
    paths = [
        write_run(
            f"r{place:02}",
            optimizer={"name": "adamw", "lr": (1 + place) / 64},
            metrics=lines_to(3 + place / 50, every=2),
            result=result_of(40.0 + place),
        )
        for place in range(30)
    ]
    variants = group_runs(map(read_run, paths))
    palette = choose_palette(build_table(variants))
    found = exhibit(LOSS, variants, palette, axes=["step"], better="lower", leading=True)
    assert found is not None
    drawing = found.plots[0].draw(WIDE, "", "")
    (axes,) = drawing.figure.axes
    assert len(axes.lines) == 6
    (grey,) = axes.collections
    assert len(grey.get_paths()) == 24
    assert sum(len(path.vertices) for path in grey.get_paths()) <= 24 * 252
    # Thirty of each that has a colour, the last of each that has none.
    assert len(drawing.spots) <= 6 * 32 + 24
    assert any(spot.text.startswith("adamw, lr=0.46875, step 600: ") for spot in drawing.spots)
    assert found.plots[0].note.endswith("In colour: the best 6 of 30 variants.")


def test_of_very_many_the_better_half_decides_on_the_axis(write_run, result_of):
    paths = [
        write_run(
            f"r{place:02}",
            optimizer={"name": "adamw", "lr": (1 + place) / 64},
            metrics=lines_to(3 + place / 50 if place < 10 else 8.0),
            result=result_of(40.0 + place),
        )
        for place in range(16)
    ]
    variants = group_runs(map(read_run, paths))
    found = exhibit(
        LOSS, variants, choose_palette(build_table(variants)), axes=["step"], better="lower", leading=True
    )
    assert found is not None
    assert found.plots[0].draw(WIDE, "", "").figure.axes[0].get_ylim()[1] < 5
    assert "Beyond the axis end 6 of the grey lines." in found.plots[0].note
