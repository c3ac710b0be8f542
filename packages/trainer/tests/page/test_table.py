"""Sortable tables: the order of a column, what is written, and what is refused."""

from __future__ import annotations

import math
import re

import pytest
from markupsafe import Markup

from graftwork_trainer.page import Cell, Table
from graftwork_trainer.page.table import ranks


def html(*arguments):
    return Table(*arguments).__html__()


@pytest.mark.parametrize(
    ("ascending", "why"),
    [
        ([-2.5, 0.0, 9.0, 10.0, math.inf], "numbers by their value"),
        (["apple", "Banana", "cherry"], "texts without regard to case"),
        (["run-9", "run-10", "run-010b", "run-100"], "digits in texts as numbers"),
        ([1e9, "1", "a"], "numbers before texts"),
        (["9" * 5000, "1" + "0" * 5000], "digits however many"),
    ],
)
def test_order_of_a_column(ascending, why):
    assert ranks(ascending) == list(range(len(ascending))), why
    assert ranks(ascending[::-1]) == list(range(len(ascending)))[::-1], why


def test_equals_share_a_place_and_what_is_missing_has_none():
    assert ranks(["b", None, "B", "a", math.nan, "", "  "]) == [1, None, 1, 0, None, None, None]
    assert ranks([]) == []


def test_a_cell_shows_its_text_and_is_sorted_by_its_order():
    written = html("Runs", ("time",), [[Cell("2 h", 7200.0)], [Cell("95 s", 95.0)], [Cell("-", None)]])
    assert re.findall(r"<th scope=\"row\" class=\"number\"(.*?)>(.*?)</th>", written) == [
        (' data-rank="1"', "2 h"),
        (' data-rank="0"', "95 s"),
        ("", "-"),
    ]


def test_headings_are_buttons_where_there_is_something_to_sort():
    rows = [("a", Cell("1", 1.0)), ("b", Cell("2", 2.0))]
    written = html("Scores", ("name", "score"), rows)
    assert written.count('<button type="button">') == 2
    assert 'role="region" aria-label="Scores"' in written
    assert "<button" not in html("Scores", ("name", "score"), rows[:1])


def test_a_column_with_a_text_is_none_of_numbers():
    assert 'class="number"' not in html("t", ("a",), [[Cell("1", 1.0)], ["x"]])


def test_an_empty_table_says_so():
    written = html("Nothing", ("a", "b"), [])
    assert '<td colspan="2" class="none">no rows</td>' in written
    assert "<button" not in written


def test_hostile_text_stays_text_and_markup_is_kept():
    evil = '</td><script>alert("1")</script>'
    written = html(evil, (evil, "b"), [(evil, Cell(evil, 1.0)), (Markup("<code>x</code>"), "y")])
    assert "<script" not in written
    assert written.count("&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;") == 4
    assert "<code>x</code>" in written


def test_it_goes_into_markup_as_it_is():
    table = Table("t", ("a",), [["x"]])
    assert Markup("<p>{}</p>").format(table) == f"<p>{table.__html__()}</p>"


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="table 't': needs at least one heading"):
        Table("t", (), [])
    with pytest.raises(ValueError, match="table 't': row 2 must have 1 cells, as there are headings, got 2"):
        Table("t", ("a",), [["x"], ["y", "z"]])
