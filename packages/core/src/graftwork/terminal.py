"""Text that fits the terminal."""

from __future__ import annotations

import shutil
import textwrap


def terminal_width() -> int:
    """Columns of the terminal, 80 where there is none."""
    return shutil.get_terminal_size((80, 24)).columns


def wrap(text: str, indent: str, first: str = "") -> str:
    """Text as a paragraph of at most 100 columns; ``first`` stands where the first line's indent would."""
    width = min(terminal_width(), 100)
    line = f"{first or indent}{text}"
    if len(line) <= width and "\n" not in text:
        return line
    return textwrap.fill(text, width=width, initial_indent=first or indent, subsequent_indent=indent)
