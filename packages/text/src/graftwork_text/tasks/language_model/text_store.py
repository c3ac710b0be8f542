"""Texts on disk: written one after another, read again by their numbers, so that no corpus fills memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType


class TextStore(AbstractContextManager["TextStore"]):
    """Texts in one file; eight bytes of memory each.

    Args:
        file: that does not exist yet.

    Raises:
        OSError: it cannot be written or read.
    """

    def __init__(self, file: Path) -> None:
        self._stream = file.open("xb+")
        self._ends = array("q", [0])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stream.close()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, text: str) -> None:
        """Write a text, with a question mark for half a character, which UTF-8 cannot spell."""
        # All are written before any is read, so that the place to write at is the end.
        self._ends.append(self._ends[-1] + self._stream.write(text.encode("utf-8", "replace")))

    def texts(self, numbers: Iterable[int]) -> Iterator[str]:
        """Read texts again.

        Args:
            numbers: of those wanted, from 0 in the order of writing; quickest in that order.
        """
        for number in numbers:
            start, end = self._ends[number], self._ends[number + 1]
            self._stream.seek(start)
            yield self._stream.read(end - start).decode("utf-8")
