"""What ``graftwork predict`` is given, one input after another: rows of a table, lines of text, files."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from graftwork import GraftworkError
from graftwork_trainer.records import not_utf8, objects, records

Wanted = Literal["row", "path"]
_TABLES, _TEXTS = (".csv", ".tsv", ".jsonl"), (".txt", ".md")


@dataclass(frozen=True, slots=True)
class Input:
    """One of them.

    Args:
        place: where it stands, for messages.
        told: what of it stands beside its prediction.
        given: what the task is handed.
    """

    place: str
    told: Mapping[str, Any]
    given: Any


def read_inputs(source: str, wanted: Wanted) -> Iterator[Input]:
    """Read inputs, in order, as they are asked for.

    Args:
        source: a ``.csv``, ``.tsv``, ``.jsonl`` or ``.txt`` file, a folder, or ``-`` for standard input:
            lines of text, or JSON lines where the first begins with a brace.
        wanted: what the task is handed: a row, that is a mapping (of a line or a file of text with ``text``
            alone), or the path of a file, which of a table its column ``path`` has.

    Raises:
        GraftworkError: there is no such file, or an input is not right; the message says where it stands.
    """
    path = Path(source).expanduser()
    if source == "-":
        found = _of_stream(sys.stdin, "standard input")
    elif path.is_dir():
        return _of_folder(path, wanted)
    elif not path.is_file():
        raise GraftworkError(f"inputs {source!r}: there is no such file or folder; - is standard input")
    elif path.suffix.lower() in _TABLES:
        found = _of_table(path)
    elif path.suffix.lower() in _TEXTS:
        found = _of_lines(path)
    else:
        raise GraftworkError(
            f"inputs {source!r}: a file must end in {', '.join((*_TABLES, *_TEXTS))} (or give a folder)"
        )
    return found if wanted == "row" else _as_paths(found, path.parent)


def _of_table(path: Path) -> Iterator[Input]:
    for line, row in records(path):
        place = f"{path}, line {line}"
        if None in row or (None in row.values() and path.suffix.lower() != ".jsonl"):
            raise GraftworkError(f"{place}: has not as many cells as the first line has columns")
        yield Input(place, row, row)


def _of_lines(path: Path) -> Iterator[Input]:
    try:
        with path.open(encoding="utf-8-sig") as stream:
            yield from _texts(stream, str(path))
    except UnicodeDecodeError as error:
        raise not_utf8(path, error) from error


def _texts(lines: Iterable[str], source: str) -> Iterator[Input]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            row = {"text": line.rstrip("\r\n")}
            yield Input(f"{source}, line {number}", row, row)


def _of_stream(stream: Iterable[str], source: str) -> Iterator[Input]:
    lines = iter(stream)
    first = next(lines, "")
    together = itertools.chain([first], lines)
    if not first.lstrip().startswith("{"):
        yield from _texts(together, source)
        return
    for line, row in objects(together, source):
        yield Input(f"{source}, line {line}", row, row)


def _of_folder(folder: Path, wanted: Wanted) -> Iterator[Input]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    if wanted == "row":
        files = [path for path in files if path.suffix.lower() in _TEXTS]
    if not files:
        kind = f"{' or '.join(_TEXTS)} file" if wanted == "row" else "file"
        raise GraftworkError(f"inputs {str(folder)!r}: no {kind} in this folder or below it")
    for path in files:
        told = {"file": path.relative_to(folder).as_posix()}
        try:
            given: Any = path if wanted == "path" else {"text": path.read_text("utf-8")}
        except UnicodeDecodeError as error:
            raise not_utf8(path, error) from error
        yield Input(str(path), told, given)


def _as_paths(inputs: Iterable[Input], folder: Path) -> Iterator[Input]:
    for one in inputs:
        name = one.given.get("path")
        if not isinstance(name, str) or not (folder / name).is_file():
            raise GraftworkError(f"{one.place}: column 'path' must name a file, got {name!r}")
        yield Input(one.place, one.told, folder / name)
