"""Names as they can be shown."""

from __future__ import annotations

import pytest

from graftwork.readable import readable


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("run-1 é", "run-1 é"),
        ("模型 実験 🙂", "模型 実験 🙂"),
        ("می‌خواهم", "می‌خواهم"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\u202etxt.exe", "a\\u202etxt.exe"),
        ("\u2066a\u2069\u200f", "\\u2066a\\u2069\\u200f"),
        ("a\u2028b\x85c\x7f", "a\\u2028b\\x85c\\x7f"),
        ("\ufeffa", "\\ufeffa"),
    ],
)
def test_what_would_not_be_seen_is_escaped(name: str, shown: str) -> None:
    assert readable(name) == shown
    assert readable(shown) == shown


def test_a_text_keeps_its_lines() -> None:
    assert readable("a\n\tb\u202e\r", lines=True) == "a\n\tb\\u202e\\r"
