"""Text beside points: it fits, and no two lie on one another."""

from __future__ import annotations

import itertools
import random

import pytest

from graftwork_trainer.report.drawing import NARROW, WIDE, arrange, new_axes
from graftwork_trainer.report.point_labels import (
    Label,
    bounded,
    moved_apart,
    on_axis,
    text_width,
    write_beside,
)


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_labels_take_a_third_of_the_figure_at_most_and_stay_different(size):
    texts = [f"adamw, weight_decay=0.1, context_length=128, lr={rate}" for rate in ("0.01", "0.02", "0.03")]
    labels = bounded([Label(1.0, 2.0, text, "#000") for text in texts], size)
    assert all(text_width(label.text) <= 0.36 * size.width for label in labels)
    assert len({label.text for label in labels}) == 3
    assert [label.text[-4:] for label in labels] == ["0.01", "0.02", "0.03"]


def test_what_all_labels_begin_with_is_left_out():
    labels = [Label(1.0, 2.0, text, "#000") for text in ("adamw, lr=0.1", "adamw, lr=0.2")]
    assert [label.text for label in bounded(labels, WIDE)] == ["lr=0.1", "lr=0.2"]
    assert [label.text for label in bounded(labels[:1], WIDE)] == ["adamw, lr=0.1"]
    other = [*labels, Label(1.0, 2.0, "sgd", "#000")]
    assert [label.text for label in bounded(other, WIDE)] == ["adamw, lr=0.1", "adamw, lr=0.2", "sgd"]


def test_heights_are_a_gap_apart_in_their_order_and_in_bounds():
    draw = random.Random(0)
    for count in range(1, 14):
        heights = [draw.choice([0.0, 5.0, 99.0, draw.uniform(0, 100)]) for _ in range(count)]
        moved = moved_apart(heights, gap=7.0, lowest=0.0, highest=100.0)
        ordered = sorted(range(count), key=lambda place: heights[place])
        steps = [moved[above] - moved[below] for below, above in itertools.pairwise(ordered)]
        assert all(step >= 7.0 - 1e-9 for step in steps)
        assert all(-1e-9 <= height <= 100.0 + 1e-9 for height in moved)


def test_heights_that_are_apart_stay_and_too_many_share_the_room():
    assert moved_apart([1.0, 50.0, 30.0], gap=7.0, lowest=0.0, highest=100.0) == [1.0, 50.0, 30.0]
    assert moved_apart([5.0] * 5, gap=50.0, lowest=0.0, highest=100.0) == [0.0, 25.0, 50.0, 75.0, 100.0]


def test_a_point_beyond_the_axis_has_its_label_at_the_edge_with_an_arrow():
    _, axes = new_axes(WIDE)
    axes.set_ylim(1.0, 2.0)
    labels = on_axis(axes, [Label(0.0, y, "a", "#000") for y in (1.5, 9.0, -9.0)])
    assert [(label.y, label.text) for label in labels] == [(1.5, "a"), (2.0, "a ↑"), (1.0, "a ↓")]


def test_labels_of_lines_that_end_together_are_written_apart():
    figure, axes = new_axes(WIDE)
    axes.set_xlim(0, 10)
    axes.set_ylim(0, 1)
    arrange(figure, axes, WIDE, y_title="y", x_title="x", right=90, title="", note="")
    write_beside(axes, [Label(10.0, 0.5, f"variant {place}", "#000") for place in range(8)], flush_from=0.8)
    figure.canvas.draw()
    boxes = sorted((text.get_window_extent().y0, text.get_window_extent().y1) for text in axes.texts)
    assert all(below[1] <= above[0] + 1 for below, above in itertools.pairwise(boxes))
    assert all(text.get_window_extent().x0 >= axes.get_window_extent().x1 for text in axes.texts)


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_of_a_grid_the_values_are_told(size):
    values = [(rate, decay) for rate in ("0.001", "0.002") for decay in ("0.05", "0.1", "0.2")]
    labels = [Label(1.0, 2.0, f"adamw, lr={rate}, weight_decay={decay}", "#000") for rate, decay in values]
    assert [label.text for label in bounded(labels, size)] == [", ".join(pair) for pair in values]
