"""Lines in columns: aligned, in what the file can show, and in styles only where a terminal shows them."""

from __future__ import annotations

import io

import pytest

from graftwork_trainer.screen import Screen, columns_width

LINES = [["", "adamw", "sgd"], ["validation"], ["  loss", "4.0 *", "10.25  "]]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_first_column_is_left_and_the_others_right():
    file = io.StringIO()
    Screen(file, 80).columns(LINES)
    assert file.getvalue().splitlines() == [
        "        adamw      sgd",
        "----------------------",
        "validation",
        "  loss  4.0 *  10.25",
    ]
    assert columns_width(LINES) == 22


def test_on_a_terminal_headings_and_the_best_are_bold(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    file = Terminal()
    Screen(file, 80).columns(LINES)
    heading, rule, section, row = file.getvalue().splitlines()
    assert heading == "      \x1b[1m  adamw\x1b[0m\x1b[1m      sgd\x1b[0m"
    assert (rule, section) == (f"\x1b[2m{'-' * 22}\x1b[0m", "\x1b[2mvalidation\x1b[0m")
    assert row == "  loss\x1b[1m  4.0 *\x1b[0m  10.25"


@pytest.mark.parametrize("term", ["dumb", None])
def test_a_terminal_that_knows_no_styles_gets_none(monkeypatch, term):
    monkeypatch.delenv("TERM", raising=False)
    if term:
        monkeypatch.setenv("TERM", term)
    file = Terminal()
    Screen(file, 80).columns(LINES)
    assert "\x1b" not in file.getvalue()


def test_text_is_spelt_as_the_file_can_show_it():
    ascii_file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert Screen(ascii_file, 80).spell("40.2 ± 0.2 ↓ 用") == "40.2 +- 0.2 (low) ?"
    assert Screen(io.StringIO(), 80).spell("40.2 ± 0.2 ↓ 用") == "40.2 ± 0.2 ↓ 用"


def test_control_characters_are_left_out():
    assert Screen(io.StringIO(), 80).spell("a\x1b[2Jb\x07\x9b") == "a[2Jb"


def test_the_width_is_the_terminals_where_none_is_given(monkeypatch):
    monkeypatch.setenv("COLUMNS", "61")
    assert Screen(io.StringIO()).width == 61
