"""What a value becomes in a recipe that is written, and what cannot be written."""

from __future__ import annotations

import enum
from pathlib import Path

import pytest

from graftwork.plain_data import plain
from graftwork.values import NONE


class Side(enum.Enum):
    LEFT = "left"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (True, True),
        (0, 0),
        (0.5, 0.5),
        ("", ""),
        (Side.LEFT, "left"),
        (Path("a") / "b", str(Path("a") / "b")),
        ((1, None, Path("a")), [1, NONE, "a"]),
        ({1: (2.0,), "b": None}, {"1": [2.0], "b": NONE}),
        (None, None),
        (b"bytes", None),
        (1j, None),
        ([1, 1j], None),
        ({"a": [object()]}, None),
    ],
)
def test_it_is_as_toml_holds_it_or_none(value, written):
    found = plain(value)
    assert found == written
    assert type(found) is type(written)
