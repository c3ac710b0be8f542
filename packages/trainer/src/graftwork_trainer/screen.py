"""Lines in columns on a terminal, or in the file that stands in for one."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from typing import Literal, TextIO

Line = list[str]
STANDS_OUT = "*"
Style = Literal["", "bold", "dim"]
_GAP = 2
_STYLES = {"": "", "bold": "\x1b[1m", "dim": "\x1b[2m"}
_ASCII = str.maketrans({"±": "+-", "µ": "u", "…": "~", "\u00a0": " ", "↓": "(low)", "↑": "(high)"})
_CONTROLS = dict.fromkeys([*range(32), *range(127, 160)])


class Screen:
    """Where lines go.

    Args:
        file: standard output where none is given.
        width: in characters; the terminal's where none is given.
    """

    def __init__(self, file: TextIO | None = None, width: int | None = None) -> None:
        self._file = file or sys.stdout
        self.width = width or shutil.get_terminal_size().columns
        self._unicode = (self._file.encoding or "utf-8").lower().startswith("utf")
        # A console of Windows that understands no styles names no kind of terminal.
        self._styled = self._file.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    def spell(self, text: str) -> str:
        """The text as it can be shown: without control characters, in ASCII where there is no more."""
        text = text.translate(_CONTROLS)
        return text if self._unicode else text.translate(_ASCII).encode("ascii", "replace").decode()

    def write(self, text: str = "", style: Style = "") -> None:
        """Write one line that has been spelt."""
        self._write([(text, style)])

    def columns(self, lines: Sequence[Line], headings: int = 1) -> None:
        """Write lines of equally many cells under each other: the first cell left, the others right.

        Headings are bold, and so is a cell that ends in an asterisk. A line of one cell belongs to no column
        and is dim.

        Args:
            lines: of cells that have been spelt.
            headings: how many of the lines are, with a rule under the last.
        """
        widths = _widths(lines)
        for index, (first, *rest) in enumerate(lines):
            if not any((first, *rest)):
                continue
            parts: list[tuple[str, Style]] = [(first.ljust(widths[0]), "" if rest else "dim")]
            for text, width in zip(rest, widths[1:], strict=False):
                stands_out = index < headings or text.endswith(STANDS_OUT)
                parts.append((" " * _GAP + text.rjust(width), "bold" if stands_out else ""))
            self._write(parts)
            if index == headings - 1:
                self.write("-" * columns_width(lines), "dim")

    def _write(self, parts: Sequence[tuple[str, Style]]) -> None:
        """Write a line without the blanks at its end."""
        used = len("".join(text for text, _ in parts).rstrip())
        line = ""
        for text, style in parts:
            kept = text[: max(0, used)]
            used -= len(text)
            line += f"{_STYLES[style]}{kept}\x1b[0m" if self._styled and style and kept else kept
        print(line, file=self._file)


def columns_width(lines: Sequence[Line]) -> int:
    """Characters that :meth:`Screen.columns` takes for lines."""
    widths = _widths(lines)
    return sum(widths) + _GAP * (len(widths) - 1)


def _widths(lines: Sequence[Line]) -> list[int]:
    full = [line for line in lines if len(line) > 1]
    return [max(map(len, column)) for column in zip(*full, strict=True)]
