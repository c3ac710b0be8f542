"""A user's own labelled text: tables with columns of text and a column of labels.

Files are read as :mod:`graftwork_trainer.records` says, labels as :mod:`~graftwork_text.corpora.label_names`
does: text, whole numbers or booleans. Where there is no file of test examples, a fifth of the examples (by a
stable hash of their texts, repeated ones counted once) is held out as test part. A class that files of
held-out examples alone have is refused. What is doubtful and no mistake is a remark: labels that are alike,
texts under several labels, texts that are empty, rows that are left out.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from graftwork.errors import GraftworkError
from graftwork_text.corpora.contrary import ContraryAnswers
from graftwork_text.corpora.file_identity import digests, known_files
from graftwork_text.corpora.held_out import BETWEEN_TEXTS, HeldOutFiles, held_out
from graftwork_text.corpora.label_names import class_names, in_order, remarks_on, written_label
from graftwork_text.corpora.labelled import LabelledCorpus, LabelledData, LabelledExample
from graftwork_text.corpora.remarks import Remark
from graftwork_text.corpora.sameness import fingerprint
from graftwork_text.corpora.values import is_text, missing_column, shown
from graftwork_trainer.known_file import KnownFile
from graftwork_trainer.records import has_marks, records, told_marks, told_passed_over

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
    known = known_files(paths)
    identity = {
        "text_columns": ", ".join(fields),
        "label_column": files.label_column,
        "reading": "1",
        **digests(known),
    }
    return LabelledCorpus(name, identity, fields, partial(_read, known, fields, files.label_column))


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a table, with its label as it is written there."""

    path: Path
    line: int
    texts: tuple[str, ...]
    label: str

    @property
    def place(self) -> str:
        return f"{self.path}, line {self.line}"


def _read(files: Mapping[str, KnownFile], text_columns: tuple[str, ...], label_column: str) -> LabelledData:
    remarks: list[Remark] = []
    rows = {}
    paths = {part: file.path for part, file in files.items()}
    for part, path in paths.items():
        passed_over: list[int] = []
        marked: list[int] = []
        rows[part] = list(_rows(files[part], text_columns, label_column, passed_over, marked))
        of_file = "" if part == "train" else f"{path} has "
        if passed_over:
            remarks.append(
                Remark("empty_rows", len(passed_over), f"{of_file}{told_passed_over(passed_over)}")
            )
        if marked:
            remarks.append(Remark("rows_with_quotation_marks", len(marked), f"{of_file}{told_marks(marked)}"))
        if not rows[part]:
            raise GraftworkError(f"{path}: holds no rows to read, and at least one is needed")
    counts = Counter(row.label for part in rows.values() for row in part)
    class_of = class_names(counts)
    names = in_order(set(class_of.values()))
    # Of other data for a model that has learnt its classes all is the test part, and may be of one.
    if len(names) < 2 and paths.get("test") != paths["train"]:
        raise GraftworkError(
            f"{paths['train']}: column {label_column!r} holds {len(names)} different label(s) "
            f"({', '.join(names) or 'none'}), and at least 2 are needed"
        )
    _refuse_unlearnt(rows, class_of, paths["train"])
    learnt, tested = rows["train"], rows.get("test")
    if tested is None:
        learnt, tested = held_out(learnt, lambda row: BETWEEN_TEXTS.join(row.texts))
        if repeated := len(rows["train"]) - len(learnt) - len(tested):
            told = f"{repeated} row(s) repeat the texts of an earlier one and are left out"
            remarks.append(Remark("repeated_rows", repeated, told))
    validated = rows.get("validation", [])
    remarks += remarks_on(counts, class_of)
    remarks += _empty_texts(rows, paths)
    contrary = ContraryAnswers("texts_with_contrary_labels", "text(s) stand under more than one label")
    for row in itertools.chain.from_iterable(rows.values()):
        place = f"line {row.line}" if row.path == paths["train"] else row.place
        contrary.add(fingerprint(*row.texts), class_of[row.label], place)
    remarks += contrary.remarks()
    number = {label: names.index(name) for label, name in class_of.items()}
    train, validation, test = (
        [LabelledExample(row.texts, number[row.label]) for row in part]
        for part in (learnt, validated, tested)
    )
    return LabelledData(names, train, test, validation, tuple(remarks))


def _empty_texts(rows: Mapping[str, Sequence[_Row]], paths: Mapping[str, Path]) -> list[Remark]:
    """A remark on rows of which a text is empty; those of a file that is two parts count once."""
    by_file = {path: rows[part] for part, path in paths.items()}
    empty = [row for part in by_file.values() for row in part if not all(map(str.strip, row.texts))]
    if not empty:
        return []
    first = f"line {empty[0].line}" if empty[0].path == paths["train"] else empty[0].place
    return [Remark("empty_texts", len(empty), f"{len(empty)} row(s) with an empty text (first: {first})")]


def _refuse_unlearnt(rows: Mapping[str, Sequence[_Row]], class_of: Mapping[str, str], train: Path) -> None:
    """Refuse a class that files of held-out examples alone have: no training could tell it."""
    known = {class_of[row.label] for row in rows["train"]}
    for row in itertools.chain.from_iterable(rows.values()):
        if (name := class_of[row.label]) not in known:
            raise GraftworkError(
                f"{row.place}: the label is {name!r:.60}, and {train} has none of its class to learn from"
            )


def _rows(
    file: KnownFile,
    text_columns: tuple[str, ...],
    label_column: str,
    passed_over: list[int],
    marked: list[int],
) -> Iterator[_Row]:
    path = file.path
    for line, row in file.read(partial(records, passed_over=passed_over)):
        if has_marks(path, row):
            marked.append(line)
        place = f"{path}, line {line}"
        texts = tuple(_text(row, column, place) for column in text_columns)
        yield _Row(path, line, texts, _label(row, label_column, place))


def _text(row: Mapping[str, Any], column: str, place: str) -> str:
    value = _cell(row, column, place)
    if not is_text(value):
        raise GraftworkError(f"{place}: the text in column {column!r} is {shown(value)}, and must be a text")
    return str(value)


def _label(row: Mapping[str, Any], column: str, place: str) -> str:
    value = _cell(row, column, place)
    label = written_label(value)
    if label is None:
        raise GraftworkError(
            f"{place}: the label in column {column!r} is {shown(value)}, and must be a text, a whole number "
            "or a boolean"
        )
    if not label.strip():
        raise GraftworkError(f"{place}: the label in column {column!r} is empty")
    return label


def _cell(row: Mapping[str, Any], column: str, place: str) -> Any:
    if column not in row:
        raise GraftworkError(
            f"{place}: {missing_column(row, column)} (options text_columns and label_column name those to "
            "read)"
        )
    return row[column]
