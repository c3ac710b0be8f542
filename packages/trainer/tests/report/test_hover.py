"""Values under the pointer."""

from __future__ import annotations

import pytest

from graftwork_trainer.report.drawing import WIDE, new_axes
from graftwork_trainer.report.hover import Spot, placed, svg_of


def test_spots_are_where_their_points_are_drawn_and_those_beyond_the_axes_are_left_out():
    figure, axes = new_axes(WIDE)
    figure.subplots_adjust(left=0.1, right=0.9, bottom=0.2, top=0.8)
    axes.set_xlim(0, 10)
    axes.set_ylim(0, 1)
    corner, middle = placed(axes, [Spot(0.0, 0.0, "a"), Spot(5.0, 0.5, "b"), Spot(5.0, 3.0, "c")])
    assert (corner.x, corner.y) == pytest.approx((0.1 * WIDE.width, 0.8 * WIDE.height))
    assert (middle.x, middle.y, middle.text) == (
        pytest.approx(0.5 * WIDE.width), pytest.approx(0.5 * WIDE.height), "b",
    )  # fmt: skip


def test_their_text_is_escaped_and_none_leave_nothing():
    assert "<title>a &lt;b&gt; &amp; c</title>" in svg_of([Spot(1.0, 2.0, "a <b> & c")])
    assert svg_of([]) == ""
