"""What a run left to be looked at, ``RUN/artefacts/``: pictures, tables, texts and pages.

All but pages are put into the report itself. A file that is not what its name says costs its own place: one
sentence stands there.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from graftwork import GraftworkError
from graftwork_trainer.page import Cell, Picture, Pictures, Table, read_picture
from graftwork_trainer.report.variants import Variant

_PICTURES = (".png", ".jpg", ".jpeg", ".svg")
_MOST_PICTURES = 60
_MOST_ROWS = 500
_MOST_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True)
class Piece:
    """One artefact other than a whole picture.

    Args:
        name: what it is called in the report.
        table: of a ``.csv`` file.
        text: of a ``.txt`` file.
        address: of a page, relative to the report.
        remark: what was left out or went wrong; where there is nothing else, this stands in its place.
    """

    name: str
    table: Table | None = None
    text: str = ""
    address: str = ""
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Artefacts:
    """The artefacts of one run, which stands for its variant; ``place`` is the variant's among all."""

    place: int
    title: str
    pictures: Pictures
    pieces: tuple[Piece, ...]


def collect_artefacts(variants: Sequence[Variant], report_folder: Path) -> list[Artefacts]:
    """The artefacts of the first run of every variant that has any, of each of its stages.

    Args:
        variants: of the report.
        report_folder: where the report will lie; links to pages start from there.
    """
    found = []
    for place, variant in enumerate(variants):
        for run in variant.runs:
            several = len(variant.runs) > 1 and run.seed is not None
            title = f"{variant.label}, seed {run.seed}" if several else variant.label
            parts = {f"{title}, stage {stage.name}": stage.record.path for stage in run.stages}
            left = {part: _files(path / "artefacts") for part, path in (parts or {title: run.path}).items()}
            if any(left.values()):
                of_run = ((part, files) for part, files in left.items() if files)
                found += [_of_one_run(place, part, files, report_folder) for part, files in of_run]
                break
    return found


def _files(folder: Path) -> list[Path]:
    """The folder's own files; what a page brings along lies in folders below. A link may lead anywhere."""
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.iterdir() if file.is_file() and not file.is_symlink())


def _of_one_run(place: int, title: str, files: Sequence[Path], report_folder: Path) -> Artefacts:
    """Pictures, then tables, texts and pages, and at last what cannot be shown, each in order of names."""
    pictures: list[Picture] = []
    pieces: list[Piece] = []
    endings = (*_PICTURES, *_READERS, ".html")
    shown = [file for file in files if _ending(file) in _PICTURES]
    for file in shown[:_MOST_PICTURES]:
        try:
            pictures.append(read_picture(file, _caption(file)))
        except GraftworkError as error:
            pieces.append(Piece(_caption(file), remark=f"{error}."))
    if len(shown) > _MOST_PICTURES:
        remark = f"{len(shown) - _MOST_PICTURES:,} of {len(shown):,} pictures are left out."
        pieces.append(Piece("further pictures", remark=remark))
    for ending, read in _READERS.items():
        pieces += [_read(file, read) for file in files if _ending(file) == ending]
    for file in files:
        if _ending(file) == ".html":
            pieces.append(Piece(_caption(file), address=address_of(file, report_folder)))
    for file in files:
        if _ending(file) not in endings:
            remark = f"{file.name}: is not shown, an artefact's name ends in {', '.join(endings)}."
            pieces.append(Piece(file.name, remark=remark))
    return Artefacts(place, title, Pictures(pictures), tuple(pieces))


def _ending(file: Path) -> str:
    return file.suffix.lower()


def _caption(file: Path) -> str:
    """The name as a reader says it: ``confusion-matrix.png`` is the confusion matrix."""
    return file.stem.replace("_", " ").replace("-", " ").strip() or file.name


def address_of(file: Path, report_folder: Path) -> str:
    """A relative one; quoted, so that no name can be taken for ``javascript:`` or another scheme."""
    return quote(Path(os.path.relpath(file, report_folder)).as_posix())


def _read(file: Path, read: Callable[[Path], Piece]) -> Piece:
    try:
        return read(file)
    except UnicodeDecodeError:
        cause = "is not shown, it is no UTF-8 text"
    except OSError as error:
        cause = f"cannot be read: {error.strerror or error}"
    except (csv.Error, _NotShownError) as error:
        cause = f"is not shown, {error}"
    return Piece(_caption(file), remark=f"{file.name}: {cause}.")


class _NotShownError(Exception):
    """The rest of a sentence that says why."""


def _table(file: Path) -> Piece:
    """The first rows of a CSV file; all of them are checked."""
    rows: list[list[Cell]] = []
    number = 0
    with file.open(encoding="utf-8-sig", newline="") as lines:
        filled = (fields for fields in csv.reader(lines, strict=True) if fields)
        headings = next(filled, [])
        for number, fields in enumerate(filled, start=1):
            if len(fields) != len(headings):
                counts = f"has {len(fields)} fields where the heading has {len(headings)}"
                raise _NotShownError(f"its row {number} {counts}")
            if number <= _MOST_ROWS:
                rows.append([Cell(field, _order(field)) for field in fields])
    if not headings:
        raise _NotShownError("it is empty")
    named = [heading.strip() or f"column {place}" for place, heading in enumerate(headings, start=1)]
    remark = f"The first {len(rows):,} rows; {number - len(rows):,} more are left out, see {file.name}."
    return Piece(
        _caption(file),
        table=Table(_caption(file), named, rows),
        remark=remark if number > len(rows) else "",
    )


def _order(field: str) -> float | str:
    """A number where it reads as one; Python's own underscores are none to a reader."""
    try:
        return field if "_" in field else float(field)
    except ValueError:
        return field


def _text(file: Path) -> Piece:
    """The first characters of a text file."""
    with file.open(encoding="utf-8-sig") as lines:
        text = lines.read(_MOST_CHARACTERS + 1)
    if not text.strip():
        raise _NotShownError("it is empty")
    remark = f"The first {_MOST_CHARACTERS:,} characters; the rest is left out, see {file.name}."
    return Piece(
        _caption(file), text=text[:_MOST_CHARACTERS], remark=remark if len(text) > _MOST_CHARACTERS else ""
    )


_READERS: Mapping[str, Callable[[Path], Piece]] = {".csv": _table, ".txt": _text}
