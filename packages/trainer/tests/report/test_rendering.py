"""SVG for the page."""

from __future__ import annotations

import pytest

from graftwork_trainer.report.drawing import Drawing, Plot, new_axes
from graftwork_trainer.report.hover import Spot
from graftwork_trainer.report.rendering import inline_svg, write_png


@pytest.fixture
def plot():
    def draw(size, title, note):
        figure, axes = new_axes(size)
        axes.plot([0, 1], [0, 1], color="#0072b2")
        return Drawing(figure, (Spot(10.0, 20.0, "half way"),))

    return Plot("a-plot", "A plot", "", draw)


def test_values_are_said_where_they_are_asked_for(plot):
    with_values, without = (inline_svg(plot, narrow=False, values=asked) for asked in (True, False))
    assert with_values.count('<circle cx="10.0" cy="20.0" r="8"><title>half way</title></circle>') == 1
    assert with_values.endswith("</g></svg>\n") or with_values.rstrip().endswith("</g></svg>")
    assert "half way" not in without


def test_wide_and_narrow_differ_in_their_box_and_their_ids(plot):
    wide, narrow = (inline_svg(plot, narrow=asked, values=False) for asked in (False, True))
    assert 'viewBox="0 0 560 350"' in wide
    assert 'viewBox="0 0 350 300"' in narrow
    assert 'id="a-plot-wide-' in wide
    assert 'id="a-plot-narrow-' in narrow
    assert "var(--line-0)" in wide


def test_signs_that_the_font_lacks_are_no_warning(tmp_path, recwarn):
    def draw(size, title, note):
        figure, axes = new_axes(size)
        axes.set_xlabel("最適化")
        return Drawing(figure)

    plot = Plot("a-plot", "学習率", "", draw)
    assert write_png(plot, tmp_path).is_file()
    assert "最適化" in inline_svg(plot, narrow=True, values=False)
    assert not recwarn.list
