"""What an option says to a value that it does not take.

Reached from here: ``plain_data.py``, ``toml.py``.
"""

from __future__ import annotations

import inspect
from datetime import date
from enum import Enum
from typing import Any, Literal

import pytest

from graftwork.plain_data import plain
from graftwork.refusal import accepted, refusal
from graftwork.schema import Option
from graftwork.values import NotAccepted


class Format(Enum):
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


def refused(value: Any, annotation: Any, default: Any = inspect.Parameter.empty) -> str:
    with pytest.raises(NotAccepted):
        accepted(value, None, annotation)
    return refusal(value, Option("option", annotation, default, ""))


@pytest.mark.parametrize(
    ("value", "annotation", "end"),
    [
        ("BF16", Format, "got 'BF16' (string), did you mean 'bfloat16'?"),
        ("fp32", Literal["float32"] | None, "did you mean 'float32'?"),
        ("Float32", Format, "did you mean 'float32'?"),
        ("zebra", Format, "got 'zebra' (string)"),
        ("0.1", float, ", write 0.1"),
        (".5", tuple[float, ...], ", write [0.5]"),
        (2024, str, ', write "2024"'),
        (date(2024, 1, 1), str, 'got 2024-01-01 (date), write "2024-01-01"'),
        (True, str, ', write "true"'),
        ("True", bool, ", write true"),
        (2**63, int, "(whole number of more than 64 bits)"),
        (1.5, int, "expected whole number, got 1.5 (float)"),
        ({"a": 1}, float, "got {'a': 1} (table)"),
        (["x"] * 99, float, "… (list)"),
    ],
)
def test_it_says_how_the_value_is_written(value, annotation, end):
    assert refused(value, annotation).endswith(end)


def test_a_list_is_shown_by_the_default():
    assert refused(0.9, tuple[float, float], (0.9, 0.999)).endswith("stands in brackets, like [0.9, 0.999]")


@pytest.mark.parametrize(
    ("text", "annotation", "value"), [(".5", float, 0.5), (None, str, "x"), ("1,2", list[int], [1, 2])]
)
def test_the_text_of_the_command_line_goes_after_its_value(text, annotation, value):
    assert accepted("x", text, annotation) == value


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (Format.FLOAT32, "float32"),
        ((1, None), [1, "none"]),
        ({1: None}, {"1": "none"}),
        (None, None),
        (object(), None),
    ],
)
def test_what_toml_can_hold(value, data):
    assert plain(value) == data
