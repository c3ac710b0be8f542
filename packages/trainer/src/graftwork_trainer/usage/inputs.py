"""What ``graftwork predict`` is given, one input after another: rows of a table, lines of text, files."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from graftwork import GraftworkError
from graftwork_trainer.files import not_readable
from graftwork_trainer.folders import files_below, given_path
from graftwork_trainer.progress import tell_once
from graftwork_trainer.records import has_marks, not_utf8, objects, records, told_marks, told_passed_over
from graftwork_trainer.records.lines import decoded, numbered_lines, whole_text

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
    path = given_path(source, "inputs")
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
    passed_over: list[int] = []
    marked: list[int] = []
    for line, row in records(path, passed_over=passed_over):
        if has_marks(path, row):
            marked.append(line)
        yield Input(f"{path}, line {line}", row, row)
    for lines, told in ((passed_over, told_passed_over), (marked, told_marks)):
        if lines:
            tell_once(f"{path}: {told(lines)}")


def _of_lines(path: Path) -> Iterator[Input]:
    for number, line in numbered_lines(path):
        if line.strip():
            place = f"{path}, line {number}"
            row = {"text": decoded(line, place).rstrip("\r\n")}
            yield Input(place, row, row)


def _texts(lines: Iterable[str], source: str) -> Iterator[Input]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            row = {"text": line.rstrip("\r\n")}
            yield Input(f"{source}, line {number}", row, row)


def _of_stream(stream: Iterable[str], source: str) -> Iterator[Input]:
    try:
        yield from _of_lines_of_text(iter(stream), source)
    except UnicodeDecodeError as error:
        raise not_utf8(source, error) from error
    except OSError as error:
        raise not_readable(Path(source), error) from error


def _of_lines_of_text(lines: Iterator[str], source: str) -> Iterator[Input]:
    first = next(lines, "").removeprefix("\ufeff")
    together = itertools.chain([first], lines)
    if not first.lstrip().startswith("{"):
        yield from _texts(together, source)
        return
    for line, row in objects(together, source):
        yield Input(f"{source}, line {line}", row, row)


def _of_folder(folder: Path, wanted: Wanted) -> Iterator[Input]:
    files = files_below(folder)
    if wanted == "row":
        files = [path for path in files if path.suffix.lower() in _TEXTS]
    if not files:
        kind = f"{' or '.join(_TEXTS)} file" if wanted == "row" else "file"
        raise GraftworkError(
            f"inputs {str(folder)!r}: no {kind} in this folder or below it (what begins with a dot is passed "
            "over)"
        )
    for path in files:
        told = {"file": path.relative_to(folder).as_posix()}
        yield Input(str(path), told, path if wanted == "path" else {"text": whole_text(path)})


def _as_paths(inputs: Iterable[Input], folder: Path) -> Iterator[Input]:
    for one in inputs:
        name = one.given.get("path")
        if not isinstance(name, str) or not (folder / name).is_file():
            raise GraftworkError(f"{one.place}: column 'path' must name a file, got {name!r}")
        yield Input(one.place, one.told, folder / name)
