"""What is being done, told wherever nothing has been printed for three seconds.

A terminal shows it on a line that is written over and cleared; a log gets a line at first and then one each
half minute. Code says what it does by ``with doing("tokenizing")``; a thread looks, so that the work itself
pays nothing.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

from tqdm import tqdm

from graftwork_trainer.progress import is_watched, tell
from graftwork_trainer.streams import Expendable, last_written


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    what: str
    since: float


# The innermost last: what is done within something else is what is told.
_works: list[_Work] = []
_watches: list[Watch] = []


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Name what may take long; told only under a :class:`Watch`.

    Args:
        what: as ``tokenizing``; the seconds are added.
    """
    work = _Work(what, time.monotonic())
    _works.append(work)
    try:
        yield
    finally:
        _works.remove(work)
        for watch in _watches:
            watch.clear()


class Watch(threading.Thread):
    """Tells what is being done while it is entered.

    Args:
        shown: otherwise it does nothing.
        patience: seconds without a line before one is shown at a terminal.
        sparse: seconds between two lines of a log, and half as many before its first.
    """

    def __init__(self, *, shown: bool, patience: float = 3.0, sparse: float = 30.0) -> None:
        super().__init__(name="graftwork-watch", daemon=True)
        self._shown, self._patience, self._sparse = shown, patience, sparse
        self._ended = threading.Event()
        # Between a look at what is being done and its line nothing may end.
        self._lock = threading.RLock()
        self._line: tqdm[NoReturn] | None = None
        self._told: tuple[_Work, float] | None = None
        self._own_writing = 0.0

    def __enter__(self) -> Watch:
        if self._shown:
            _watches.append(self)
            self.start()
        return self

    def __exit__(self, *failure: object) -> None:
        if self._shown:
            self._ended.set()
            self.join()
            _watches.remove(self)
            self.clear()

    def run(self) -> None:
        """Look now and then."""
        while not self._ended.wait(self._patience / 6):
            with self._lock:
                self._look()

    def clear(self) -> None:
        """Take the line away, before others print."""
        with self._lock:
            if self._line is not None:
                self._line.close()
                self._line = None

    def _look(self) -> None:
        work, now = (_works[-1] if _works else None), time.monotonic()
        printed = last_written()
        if self._line is not None and printed != self._own_writing:
            self.clear()
        silent = now - (work.since if work else now)
        if self._line is None:
            silent = min(silent, now - printed)
        watched = is_watched(sys.stderr)
        # A log is for later: whoever reads it has no need of a line for every short silence.
        if work is None or silent < (self._patience if watched else max(self._patience, self._sparse / 2)):
            return
        text = f"{work.what}, {now - work.since:.0f} s"
        if watched:
            # A bar without a total cannot be asked whether it is true.
            self._line = _one_line() if self._line is None else self._line
            self._line.set_description_str(f"graftwork: {text}")
            self._own_writing = last_written()
        elif self._told is None or self._told[0] is not work or now - self._told[1] >= self._sparse:
            self._told = work, now
            tell(text)


def _one_line() -> tqdm[NoReturn]:
    """A line that goes away when it is closed, and under which no bar that is there suffers."""
    return tqdm(bar_format="{desc}", leave=False, dynamic_ncols=True, file=Expendable(sys.stderr))
