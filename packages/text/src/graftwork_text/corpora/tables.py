"""A user's own labelled text: tables with columns of text and a column of labels.

``.csv`` follows RFC 4180 (a header line; quotes where needed). ``.tsv`` has a header line, tabs and no
quoting: a quotation mark is a character like any other. Each line of a ``.jsonl`` file is an object. Labels
may be strings, whole numbers or booleans; their names are kept, and numbers are ordered by size, other names
by alphabet. Where there is no file of test examples, a fifth of the examples (by a stable hash of their
texts, repeated ones counted once) is held out as test part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from graftwork.errors import GraftworkError, did_you_mean
from graftwork.realdata import digest
from graftwork_text.corpora.held_out import BETWEEN_TEXTS, HeldOutFiles, held_out
from graftwork_text.corpora.labelled import LabelledCorpus, LabelledData, LabelledExample
from graftwork_trainer.records import records

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl")


@dataclass(frozen=True, kw_only=True)
class LabelledFiles(HeldOutFiles):
    """What a user's files of labelled text are, and how they are read.

    Args:
        text_columns: of a file, in the order in which the model is to see them.
        label_column: of a file.

    Raises:
        ValueError: there is no text column.
    """

    text_columns: Sequence[str] = ("text",)
    label_column: str = "label"

    def __post_init__(self) -> None:
        if not self.text_columns:
            raise ValueError("text_columns must name at least one column, got none")


def labelled_tables(paths: Mapping[str, Path], files: LabelledFiles, *, name: str) -> LabelledCorpus:
    """Return the corpus of one, two or three tables.

    Args:
        paths: existing tables by part: ``train``, and where there are such ``validation`` and ``test``.
        files: names their columns.
        name: what to call the corpus in messages and records.

    Raises:
        GraftworkError: a file cannot be read.
    """
    fields = tuple(files.text_columns)
    identity = {"text_columns": ", ".join(fields), "label_column": files.label_column, "reading": "1"}
    for part, path in paths.items():
        try:
            identity[f"{part}_sha256"] = digest(path)
        except OSError as error:
            raise GraftworkError(f"{path}: cannot be read: {error.strerror}") from error
    return LabelledCorpus(name, identity, fields, partial(_read, dict(paths), fields, files.label_column))


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
    train, test = examples["train"], examples.get("test")
    if test is None:
        train, test = held_out(train, lambda example: BETWEEN_TEXTS.join(example.texts))
    return LabelledData(names, train, test, examples.get("validation", ()))


def _ordered(labels: set[str]) -> tuple[str, ...]:
    def is_number(label: str) -> bool:
        return label.removeprefix("-").isdecimal()

    return tuple(sorted(labels, key=int) if all(map(is_number, labels)) else sorted(labels))


def _rows(
    path: Path, text_columns: tuple[str, ...], label_column: str
) -> Iterator[tuple[tuple[str, ...], str]]:
    wanted = (*text_columns, label_column)
    for line, row in records(path):
        missing = [column for column in wanted if not isinstance(row.get(column), (str, int))]
        if missing:
            names = [str(column) for column in row]
            meant = " or ".join(f"{column!r}{did_you_mean(column, names)}" for column in missing)
            raise GraftworkError(
                f"{path}, line {line}: no text or label in column {meant}; its columns are "
                f"{', '.join(map(str, row))} (options text_columns and label_column name those to read)"
            )
        label = str(row[label_column]).strip()
        if not label:
            raise GraftworkError(f"{path}, line {line}: the label in column {label_column!r} is empty")
        yield tuple(str(row[column]) for column in text_columns), label
