"""What is written is what tomllib reads back."""

import tomllib

import pytest

from graftwork.toml import dumps


@pytest.mark.parametrize(
    "document",
    [
        {"a": {"name": "x", "lr": 1e-05, "steps": 3, "flag": True, "list": [1, 2.5, "three"]}},
        {"task": {"name": "t", "for": {"gwt-adamw": {"lr": 0.01}}, "data": 'quote " and \\ and \n\t and ü'}},
        {"odd keys": {"with.dot": 1, "": 2}, "empty": {}},
        {"nested": {"list": [{"a": 1}, [True, []]]}},
        {"numbers": {"big": 10**20, "inf": float("inf"), "negative": -0.5, "control": "\x7f\x00"}},
    ],
)
def test_round_trip(document):
    assert tomllib.loads(dumps(document)) == document
