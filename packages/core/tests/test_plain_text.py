"""What a text of the command line is taken for, by the type of its option."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Literal

import pytest

from graftwork.plain_text import read, toml_value
from graftwork.values import NotAccepted, check


class Side(Enum):
    LEFT = "left"


TAKEN = [
    (".5", float, 0.5),
    ("5.", float | None, 5.0),
    ("+1_0", str, "+1_0"),
    ("1e3", int, 1000),
    ("True", bool, True),
    ("FALSE", bool | None, False),
    ("2024-01-01", str, "2024-01-01"),
    ("07:32:00", str | None, "07:32:00"),
    ("2024", str, "2024"),
    ("true", Path, Path("true")),
    ("1979-05-27", Path | None, Path("1979-05-27")),
    ("0.9,0.95", tuple[float, float], (0.9, 0.95)),
    ("[.9, .95]", tuple[float, float], (0.9, 0.95)),
    ("(0.9, 0.95)", tuple[float, ...], (0.9, 0.95)),
    ("attn,mlp", list[str], ["attn", "mlp"]),
    ("attn", Sequence[str], ["attn"]),
    ("1,2", list[str], ["1", "2"]),
    ("1e1,2", set[int], {10, 2}),
    ("1,[2,3]", str, "1,[2,3]"),
]


@pytest.mark.parametrize(("text", "annotation", "expected"), TAKEN)
def test_plain_texts_are_taken(text, annotation, expected):
    try:
        found = check(toml_value(text), annotation)
    except NotAccepted:
        found = read(text, annotation)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "annotation"),
    [
        ("fast", float),
        ("1.5", int),
        ("1e400", int),
        ("1,000", int),
        ("yes", bool),
        ("1", bool),
        ("0.9", tuple[float, float]),
        ("0.9,x", tuple[float, float]),
        ("1,{a=1}", list[str]),
        ("", list[str]),
        ("Left", Side),
        ("Cosine", Literal["cosine"]),
        ("9" * 30, int),
        ("9" * 5000, int),
        ("[" * 3000 + "]" * 3000, list[float]),
    ],
)
def test_what_is_not_plain_is_not(text, annotation):
    with pytest.raises(NotAccepted):
        check(toml_value(text), annotation)
    with pytest.raises(NotAccepted):
        read(text, annotation)


@pytest.mark.parametrize("text", ["1\nother = 2", "1\n[a]", "[[[", "{a", "'", '"\\x"'])
def test_what_is_more_or_less_than_a_value_is_text(text):
    assert toml_value(text) == text
