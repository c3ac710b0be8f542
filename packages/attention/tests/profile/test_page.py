"""The page and the JSON of a profile, from made-up costs.

Reached from here: ``profile/drawing.py``, ``profile/figures.py``.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from graftwork_attention.profile.drawing import HEIGHT, WIDTH, draw
from graftwork_attention.profile.figures import seconds, size
from graftwork_attention.profile.measuring import Cost
from graftwork_attention.profile.page import write
from graftwork_attention.profile.running import Setting

LENGTHS = (128, 512, 2048)


def costs(names: list[str]) -> list[Cost]:
    return [
        Cost(name, length, [1e-3 * length], [3e-3 * length * (place + 1)], 10 * length, 20 * length)
        for place, name in enumerate(names)
        for length in LENGTHS
    ]


def drawn(curves: dict[str, dict[int, float]]) -> ElementTree.Element:
    return ElementTree.fromstring(str(draw(curves, LENGTHS, seconds, "time")))


@pytest.mark.parametrize("count", [1, 2, 7, 16])
def test_no_name_covers_another_and_all_stay_inside(count: int) -> None:
    picture = drawn({f"mixer-{number}": {128: 1.0, 2048: 1.0 + 1e-3 * number} for number in range(count)})
    names = [text for text in picture.iter("text") if text.get("class") == "name"]
    heights = sorted(float(text.get("y", "nan")) for text in names)
    assert len(heights) == count
    assert all(below - above >= 13.9 for above, below in pairwise(heights))
    assert heights[0] > 0
    assert heights[-1] < HEIGHT


def test_points_lie_where_their_logarithms_do_and_are_told_on_hover() -> None:
    picture = drawn({"s3": {128: 1.0, 512: 4.0, 2048: 16.0}})
    spots = [
        (float(c.get("cx", "nan")), float(c.get("cy", "nan")), c.findtext("title"))
        for c in picture.iter("circle")
    ]
    assert [title for _, _, title in spots] == [
        "s3, 128 tokens: 1 s",
        "s3, 512 tokens: 4 s",
        "s3, 2,048 tokens: 16 s",
    ]
    for axis in (0, 1):
        assert spots[1][axis] == pytest.approx((spots[0][axis] + spots[2][axis]) / 2, abs=0.2)
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y, _ in spots)


def test_curves_beyond_the_number_of_colours_are_dashed() -> None:
    picture = drawn({f"mixer-{number}": {128: 1.0 + number, 2048: 2.0 + number} for number in range(9)})
    styles = [(line.get("stroke"), line.get("stroke-dasharray")) for line in picture.iter("polyline")]
    assert len(set(styles)) == 9


@pytest.mark.parametrize("curves", [{}, {"s3": {}}, {"s3": {128: 0.0}}])
def test_nothing_measured_is_said_so(curves: dict[str, dict[int, float]]) -> None:
    assert "nothing was measured" in draw(curves, LENGTHS, seconds, "time")


def test_one_length_alone_is_drawn() -> None:
    assert (
        len(
            list(
                ElementTree.fromstring(str(draw({"s3": {128: 1.0}}, (128,), seconds, "time"))).iter("circle")
            )
        )
        == 1
    )


def test_the_page_has_the_answer_and_loads_nothing(tmp_path: Path) -> None:
    names = ["<b>odd</b>", "sdpa"]
    write(tmp_path / "new", costs(names), Setting(dim=16, heads=2, lengths=LENGTHS))
    page = (tmp_path / "new" / "profile.html").read_text("utf-8")
    assert "&lt;b&gt;odd&lt;/b&gt; is faster than sdpa at every length here" in page
    assert "<b>odd" not in page
    assert not re.search(r"(?:src|href)=[\"'](?!data:)", page)
    assert page.count("<svg") == 4
    content = json.loads((tmp_path / "new" / "profile.json").read_text("utf-8"))
    assert content["slopes"]["sdpa"] == pytest.approx(1.0)
    assert len(content["costs"]) == 6
    assert (content["dim"], content["lengths"], content["dtype"]) == (16, list(LENGTHS), "float32")


def test_figures_have_the_unit_that_fits() -> None:
    assert [seconds(value) for value in (12.345, 0.1, 1e-5)] == ["12.3 s", "100 ms", "10 µs"]
    assert [size(value) for value in (2.5e9, 999, 123_456)] == ["2.5 GB", "999 B", "123 kB"]
