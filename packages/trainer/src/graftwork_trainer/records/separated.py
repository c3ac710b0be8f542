"""Rows of ``.csv`` and ``.tsv`` files.

Not :mod:`csv`: its errors name no line, it holds four bytes a byte of a field while it reads it, and a field
has a limit that is global to the process.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from graftwork import GraftworkError
from graftwork_trainer.records.lines import decoded, numbered_lines, opened

_Lines = Iterator[tuple[int, bytes]]
_NAMES = {b",": "comma", b";": "semicolon", b"\t": "tab"}
_TWICE = "within a field between such marks, one is written twice"
_SHOWN = 40
_LINE_ENDS = (b"", b"\n", b"\r", b"\r\n")
# What spreadsheets write and read above a table to say what separates its fields.
_SAID = re.compile(rb'"?sep=([,;\t])"?[\r\n]*', re.IGNORECASE)
_ROWS_TRIED = 20


def separated_rows(
    path: Path, passed_over: list[int], *, opened: Callable[[Path], BinaryIO] = opened
) -> Iterator[tuple[int, Mapping[str, str]]]:
    """The rows of a table, each with the number of its first line.

    Args:
        path: a ``.csv`` or ``.tsv`` file.
        passed_over: gets the line of each row of nothing but separators.
        opened: opens it once for the rows, see :func:`~graftwork_trainer.records.lines.numbered_lines`.

    Raises:
        GraftworkError: it cannot be read, or a line is not what such a file holds.
    """
    separator, number_said = _separator(path)
    rows = _split(itertools.islice(numbered_lines(path, opened=opened), number_said, None), separator, path)
    number, first = next(rows, (0, []))
    if not first:
        return
    header = _Header([decoded(name, f"{path}, line {number}") for name in first], f"{path}, line {number}")
    is_first = True
    for number, fields in rows:
        place = f"{path}, line {number}"
        # A single field that is empty stands between quotation marks, as pandas writes an empty text.
        if len(fields) > 1 and not any(map(bytes.strip, fields)):
            passed_over.append(number)
            continue
        if len(fields) != len(first):
            few = "1 field" if len(fields) == 1 else f"{len(fields)} fields"
            cause = _cause(path, separator, fields, first, is_first=is_first)
            raise GraftworkError(f"{place}: {few} where the first line has {len(first)}{cause}")
        if fields == first:
            raise GraftworkError(f"{place}: the first line once more (of a second table?); remove it")
        is_first = False
        yield number, header.row([decoded(field, place) for field in fields], place)


class _Header:
    """The names of the columns, without white space around them.

    A first column may be without a name, as pandas writes an index, and others that are empty, as
    spreadsheets leave them; a field that stands where nothing has a name is a row that went wrong.
    """

    def __init__(self, names: Sequence[str], place: str) -> None:
        names = [name.strip() for name in names]
        if not any(names):
            raise GraftworkError(f"{place}: names no column, and the first line must name all")
        name, times = Counter(filter(None, names)).most_common(1)[0]
        if times > 1:
            raise GraftworkError(f"{place}: names column {name!r} {times} times")
        self._names = names
        self._unnamed = [number for number, name in enumerate(names) if number and not name]
        self._kept = [number for number in range(len(names)) if number not in self._unnamed]

    def row(self, fields: Sequence[str], place: str) -> dict[str, str]:
        if not self._unnamed:
            return dict(zip(self._names, fields, strict=True))
        for number in self._unnamed:
            if fields[number].strip():
                raise GraftworkError(
                    f"{place}: {fields[number]!r:.40} stands in column {number + 1}, to which the first line "
                    "gives no name"
                )
        return {self._names[number]: fields[number] for number in self._kept}


def _separator(path: Path) -> tuple[bytes, int]:
    """What separates the fields, and the number of the line that says so, or 0 where none does.

    By the file's name; semicolons where the header has no comma, or only they give rows its number of fields.
    """
    number, line = next((found for found in numbered_lines(path) if found[1].strip()), (0, b""))
    tabs = path.suffix.lower() == ".tsv"
    if (said := _SAID.fullmatch(line)) and (said[1] == b"\t" or not tabs):
        return said[1], number
    own = b"\t" if tabs else b","
    if not tabs and b";" in line:
        fits = own in line and _fitting(path, b",") >= _fitting(path, b";")
        return (own if fits else b";"), 0
    if own in line:
        return own, 0
    for other in (b",", b";") if tabs else (b"\t",):
        if other in line:
            right = ".csv" if tabs else ".tsv"
            raise GraftworkError(
                f"{path}, line {number}: has {_NAMES[other]}s and no {_NAMES[own]}; name a table of "
                f"{_NAMES[other]}s {right}"
            )
    return own, 0


def _fitting(path: Path, separator: bytes) -> int:
    """How many of the first rows have as many fields as the header; -1 where it cannot be taken apart."""
    fitting = -1
    columns = None
    try:
        for _, fields in itertools.islice(_split(numbered_lines(path), separator, path), 1 + _ROWS_TRIED):
            columns = columns or len(fields)
            fitting += len(fields) == columns
    except GraftworkError:  # told when it is read in earnest
        pass
    return fitting


def _cause(
    path: Path, separator: bytes, fields: Sequence[bytes], first: Sequence[bytes], *, is_first: bool
) -> str:
    """What may have given a row another number of fields than the header has."""
    name = _NAMES[separator]
    longer, shorter = (fields, first) if len(fields) > len(first) else (first, fields)
    if is_first and len(longer) == len(shorter) + 1 and not longer[-1].strip():
        ends, other = ("this one", "the first") if longer is fields else ("the first", "this one")
        return f" ({ends} ends with a {name} and {other} does not; end all lines alike)"
    if longer is first:
        return ""
    if path.suffix.lower() == ".tsv":
        return f" (no field can hold a {name})"
    return f" (a field that holds a {name} must stand between quotation marks)"


def _split(lines: _Lines, separator: bytes, path: Path) -> Iterator[tuple[int, list[bytes]]]:
    """The fields of each row; blank lines outside of quotation marks are passed over."""
    has_marks = path.suffix.lower() != ".tsv"
    for number, line in lines:
        if not line.strip() and separator not in line:
            continue
        if has_marks and b'"' in line:
            yield number, _MarkedRow(number, line, lines, separator, path).fields()
        else:
            yield number, line.rstrip(b"\r\n").split(separator)


class _MarkedRow:
    """Takes apart a row of which some fields stand between quotation marks, over several lines maybe."""

    def __init__(self, number: int, line: bytes, further: _Lines, separator: bytes, path: Path) -> None:
        self._number, self._line, self._at = number, line, 0
        self._further = further
        self._separator = separator
        self._path = path

    def fields(self) -> list[bytes]:
        fields = []
        while True:
            marked = self._line.startswith(b'"', self._at)
            fields.append(self._between_marks() if marked else self._plain())
            if self._line[self._at : self._at + 2] in _LINE_ENDS:
                return fields
            self._at += 1

    def _plain(self) -> bytes:
        start, end = self._at, self._line.find(self._separator, self._at)
        self._at = end if end >= 0 else len(self._line.rstrip(b"\r\n"))
        return self._line[start : self._at]

    def _between_marks(self) -> bytes:
        opened = self._number
        content = bytearray()
        start = self._at = self._at + 1
        while (end := self._line.find(b'"', self._at)) < 0 or self._line.startswith(b'"', end + 1):
            if end < 0:
                content += self._line[start:]
                self._next_line(opened)
                start = 0
            else:  # one that is written twice is one of the field's own
                self._at = end + 2
        content += self._line[start:end]
        self._at = end + 1
        if (
            not self._line.startswith(self._separator, self._at)
            and self._line[self._at : self._at + 2] not in _LINE_ENDS
        ):
            since = "" if opened == self._number else f" (opened in line {opened})"
            rest = self._line[self._at : self._at + _SHOWN].decode("utf-8", "replace").rstrip()
            raise GraftworkError(
                f"{self._path}, line {self._number}: a quotation mark closes a field{since} and {rest!r} "
                f"goes on; {_TWICE}"
            )
        return bytes(content.replace(b'""', b'"') if b'""' in content else content)

    def _next_line(self, opened: int) -> None:
        try:
            self._number, self._line = next(self._further)
        except StopIteration:
            raise GraftworkError(
                f"{self._path}, line {opened}: a quotation mark opens a field and none closes it; {_TWICE}"
            ) from None
        self._at = 0
