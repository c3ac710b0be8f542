"""Rows of a user's tables, each with its place for messages.

``.csv`` follows RFC 4180 (a header line; quotes where needed), with commas or, where the header has none
or only they fit, semicolons. ``.tsv`` has a header line, tabs and no quoting: a quotation mark is a
character like any other. Each line of a ``.jsonl`` file is an object. All are UTF-8, with or without a byte
order mark, with any line ends. Blank lines are passed over.

A row is a mapping by the names of the columns. What would have to be guessed is refused: a row with more or
fewer fields than the header, a name that stands twice, a quotation mark that is left open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from graftwork_trainer.records.json_lines import json_rows, objects
from graftwork_trainer.records.lines import not_utf8, opened
from graftwork_trainer.records.separated import separated_rows

__all__ = ["has_marks", "not_utf8", "objects", "records", "told_marks", "told_passed_over"]


def records(
    path: Path,
    *,
    passed_over: list[int] | None = None,
    opened: Callable[[Path], BinaryIO] = opened,
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The rows of a table, each with the number of its (first) line.

    Args:
        path: a ``.csv``, ``.tsv`` or ``.jsonl`` file.
        passed_over: gets the line of each row of nothing but separators, which is no row.
        opened: opens it; who needs to see all bytes as well gives a function of its own.

    Raises:
        GraftworkError: it cannot be read, or a line is not what such a file holds.
    """
    if path.suffix.lower() == ".jsonl":
        return json_rows(path, opened=opened)
    return separated_rows(path, [] if passed_over is None else passed_over, opened=opened)


def told_passed_over(lines: Sequence[int]) -> str:
    """What to say of the rows that :func:`records` has passed over, to stand after the name of the file.

    >>> told_passed_over([7, 9])
    '2 row(s) of nothing but separators, passed over like blank lines (first: line 7)'
    """
    return (
        f"{len(lines)} row(s) of nothing but separators, passed over like blank lines "
        f"(first: line {lines[0]})"
    )


def has_marks(path: Path, row: Mapping[str, Any]) -> bool:
    """Whether a row of a ``.tsv`` file has a field between quotation marks, which are its own there."""
    if path.suffix.lower() != ".tsv":
        return False
    return any(len(field) > 1 and field[0] == field[-1] == '"' for field in row.values())


def told_marks(lines: Sequence[int]) -> str:
    """What to say of the rows for which :func:`has_marks` holds, to stand after the name of the file.

    >>> told_marks([2, 3])[:71]
    '2 row(s) with a field between quotation marks, which a .tsv file keeps '
    """
    return (
        f"{len(lines)} row(s) with a field between quotation marks, which a .tsv file keeps (first: line "
        f"{lines[0]}); in a .csv file that begins with a line of 'sep=' and a tab they are none of the field"
    )
