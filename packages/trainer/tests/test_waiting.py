"""What is told while nothing else is printed."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable

import pytest

from graftwork_trainer.progress import Progress, tell
from graftwork_trainer.streams import expendable_streams
from graftwork_trainer.waiting import Watch, doing


class Terminal(io.StringIO):
    """Standard error as a person sees it."""

    def isatty(self) -> bool:
        return True


def wait_for(done: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not done():
        assert time.monotonic() < limit
        time.sleep(0.005)


def test_a_terminal_shows_one_line_and_clears_it(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with expendable_streams(), Watch(shown=True, patience=0.06):
        with doing("preparing"), doing("tokenizing"):
            wait_for(lambda: "graftwork: tokenizing, 0 s" in screen.getvalue())
        tell("afterwards")
    shown, _, rest = screen.getvalue().rpartition("afterwards")
    assert "preparing" not in shown
    # What stood there has been overwritten with blanks before anything else is printed.
    assert shown.rpartition("tokenizing, 0 s")[2].startswith("\r ")
    assert rest == "\n"


def test_a_log_gets_a_line_each_half_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with expendable_streams(), Watch(shown=True, patience=0.03, sparse=0.4), doing("tokenizing"):
        time.sleep(0.3)
    assert capsys.readouterr().err.count("graftwork: tokenizing, 0 s\n") == 1


def test_nothing_is_told_where_something_else_is_or_where_nobody_wants_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with expendable_streams(), doing("training"):
        with Watch(shown=False, patience=0.01):
            time.sleep(0.1)
        with Watch(shown=True, patience=5):
            print(".", file=sys.stderr)
    assert capsys.readouterr().err == ".\n"


def test_the_bar_stays_whole_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with (
        expendable_streams(),
        Watch(shown=True, patience=0.06),
        Progress(0, 2, "examples", label="run", shown=True) as bar,
    ):
        bar.advance()
        with doing("evaluating"):
            wait_for(lambda: "evaluating, 0 s" in screen.getvalue())
        bar.say("step 1: validation loss 2")
        bar.advance()
    shown = screen.getvalue()
    before, _, after = shown.partition("step 1: validation loss 2\n")
    # Both lines were overwritten with blanks, and the bar is drawn anew below what was said.
    assert before.endswith(" \r")
    assert "run  50% 1/2" in after
    assert "run 100% 2/2" in after
