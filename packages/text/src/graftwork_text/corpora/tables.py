"""A user's own labelled text: tables with columns of text and a column of labels.

``.csv`` follows RFC 4180 (a header line; quotes where needed). ``.tsv`` has a header line, tabs and no
quoting: a quotation mark is a character like any other. Each line of a ``.jsonl`` file is an object. Labels
may be strings, whole numbers or booleans; their names are kept, and numbers are ordered by size, other names
by alphabet. Where there is no file of test examples, a fifth of the examples (by a stable hash of their
texts, repeated ones counted once) is held out as test part.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from graftwork.errors import GraftworkError, did_you_mean
from graftwork.realdata import split_fraction
from graftwork_text.corpora.labelled import LabelledCorpus, LabelledData, LabelledExample
from graftwork_text.corpora.labelled_fetched import TEST_SHARE

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl")
# Between the texts of one example where they are hashed together; no text holds it.
_BETWEEN_TEXTS = "\x1f"


def labelled_files(
    files: Mapping[str, Path], *, name: str, text_columns: Sequence[str], label_column: str
) -> LabelledCorpus:
    """Return the corpus of one, two or three tables.

    Args:
        files: existing files by part: ``train``, and where there are such ``validation`` and ``test``.
        name: what to call the corpus in messages and records.
        text_columns: one or more columns, in the order in which a model is to see them.
        label_column: the column of the labels.

    Raises:
        GraftworkError: a file is of another kind or cannot be read.
    """
    identity = {
        "text_columns": ", ".join(text_columns),
        "label_column": label_column,
        "reading": "1",
    }
    for part, path in files.items():
        if path.suffix.lower() not in TABLE_SUFFIXES:
            raise GraftworkError(f"{path}: labelled text must be a {', '.join(TABLE_SUFFIXES)} file")
        try:
            with path.open("rb") as stream:
                identity[f"{part}_sha256"] = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise GraftworkError(f"{path}: cannot be read: {error.strerror}") from error
    columns = (tuple(text_columns), label_column)
    return LabelledCorpus(name, tuple(text_columns), identity, partial(_read, dict(files), *columns))


def _read(files: Mapping[str, Path], text_columns: tuple[str, ...], label_column: str) -> LabelledData:
    rows = {part: list(_rows(path, text_columns, label_column)) for part, path in files.items()}
    names = _ordered({label for part in rows.values() for _, label in part})
    if len(names) < 2:
        raise GraftworkError(
            f"{files['train']}: column {label_column!r} holds {len(names)} different label(s) "
            f"({', '.join(names) or 'none'}), and at least 2 are needed"
        )
    number = {label: index for index, label in enumerate(names)}
    examples = {
        part: [LabelledExample(texts, number[label]) for texts, label in found]
        for part, found in rows.items()
    }
    if "test" in examples:
        return LabelledData(names, examples["train"], examples["test"], examples.get("validation", ()))
    unique = {example.texts: example for example in reversed(examples["train"])}
    train: list[LabelledExample] = []
    test: list[LabelledExample] = []
    for example in reversed(unique.values()):
        held_out = split_fraction(_BETWEEN_TEXTS.join(example.texts)) < TEST_SHARE
        (test if held_out else train).append(example)
    return LabelledData(names, train, test, examples.get("validation", ()))


def _ordered(labels: set[str]) -> tuple[str, ...]:
    def is_number(label: str) -> bool:
        return label.removeprefix("-").isdecimal()

    return tuple(sorted(labels, key=int) if all(map(is_number, labels)) else sorted(labels))


def _rows(
    path: Path, text_columns: tuple[str, ...], label_column: str
) -> Iterator[tuple[tuple[str, ...], str]]:
    wanted = (*text_columns, label_column)
    for place, row in records(path):
        missing = [column for column in wanted if not isinstance(row.get(column), (str, int))]
        if missing:
            raise GraftworkError(
                f"{path}, {place}: no text or label in column {missing[0]!r}"
                f"{did_you_mean(missing[0], [str(column) for column in row])}; its columns are "
                f"{', '.join(map(str, row))} (options text_columns and label_column name those to read)"
            )
        label = str(row[label_column]).strip()
        if not label:
            raise GraftworkError(f"{path}, {place}: the label in column {label_column!r} is empty")
        yield tuple(str(row[column]) for column in text_columns), label


def records(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of a table, each with its place in the file (``line 7``) for messages.

    Args:
        path: a ``.csv``, ``.tsv`` or ``.jsonl`` file.

    Raises:
        GraftworkError: it cannot be read, or a line is not what such a file holds.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            if path.suffix.lower() == ".jsonl":
                yield from _objects(path, stream)
                return
            # A field of a table may be a whole article.
            csv.field_size_limit(max(csv.field_size_limit(), 10**9))
            tabs = path.suffix.lower() == ".tsv"
            reader = (
                csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
                if tabs
                else csv.DictReader(stream, strict=True)
            )
            for row in reader:
                yield f"line {reader.line_num}", row
    except UnicodeDecodeError as error:
        raise GraftworkError(
            f"{path}: not UTF-8 text (byte {error.start}: {error.reason}); convert it to UTF-8"
        ) from error
    except csv.Error as error:
        raise GraftworkError(f"{path}: not a table: {error}") from error
    except OSError as error:
        raise GraftworkError(f"{path}: cannot be read: {error.strerror}") from error


def _objects(path: Path, lines: Iterator[str] | Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise GraftworkError(f"{path}, line {number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise GraftworkError(f"{path}, line {number}: expected an object, got {line.strip()[:60]}")
        yield f"line {number}", row
