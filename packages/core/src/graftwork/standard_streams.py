"""Standard input, output and error that are closed when the program begins, or that fail while it runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


def open_the_closed() -> None:
    """Make null devices of them.

    Their numbers, 0 to 2, would go to the next files that are opened, and with them whatever any library or
    child process writes to standard output and error.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    # Python has none for a number that was closed when it began.
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def give_up(stream: TextIO) -> None:
    """Turn a stream that nothing reaches any more to the null device, with what it has not written yet."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


class Named:
    """A stream whose errors name it, as those of files do.

    Args:
        stream: to write to.
        name: for messages.
    """

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream, self._name = stream, name

    def write(self, text: str) -> int:
        """Write.

        Raises:
            OSError: it cannot be written.
        """
        with self._named():
            return self._stream.write(text)

    def flush(self) -> None:
        """Flush.

        Raises:
            OSError: it cannot be written.
        """
        with self._named():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            error.filename = self._name
            raise
