"""Questions with their answers, from files of JSON lines or a registered corpus.

Each row holds the fields that the prompt names and one of two forms, the same in all rows::

    {"premise": "...", "options": ["...", "..."], "answer": 1}         # a choice; answer by place or text
    {"context": "...", "question": "...", "answers": ["...", "..."]}   # right ones, the first to learn from

Places count from 0. Where there is no part of test questions, a fifth (by a stable hash of their fields and
options, repeated ones counted once) is held out.

Raises:
    GraftworkError: a file or a row does not fit; the message names file, line and field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from graftwork.errors import GraftworkError, did_you_mean
from graftwork_text.corpora.contrary import ContraryAnswers
from graftwork_text.corpora.corpus import Source
from graftwork_text.corpora.file_identity import digests, known_files
from graftwork_text.corpora.held_out import BETWEEN_TEXTS, held_out
from graftwork_text.corpora.remarks import Remark
from graftwork_text.corpora.sameness import fingerprint
from graftwork_text.corpora.values import is_text, shown
from graftwork_trainer.known_file import KnownFile
from graftwork_trainer.records import records

QUESTION_SUFFIXES = (".jsonl",)
Form = Literal["choice", "free"]
Rows = Iterable[tuple[str, Mapping[str, Any]]]
"""Rows as above, each with its place for messages."""
_LEAST_OPTIONS = 2


@dataclass(frozen=True, slots=True)
class Question:
    """One question with its right answers.

    Args:
        texts: one for each of the prompt's fields.
        answers: right answers, at least one; the one right option of a choice.
        options: what a choice chooses among; none where the answer is free.
    """

    texts: tuple[str, ...]
    answers: tuple[str, ...]
    options: tuple[str, ...] = ()

    @property
    def right_option(self) -> int:
        """Where the right option of a choice stands."""
        return self.options.index(self.answers[0])

    def key(self) -> str:
        """What makes it the same question as another."""
        return BETWEEN_TEXTS.join((*self.texts, *self.options))


@dataclass(frozen=True, slots=True)
class QuestionData:
    """All questions of some files.

    Args:
        form: ``choice`` or ``free``.
        train: to learn from.
        validation: for choices along the way; empty where they are to be drawn from ``train``.
        test: for the last word.
        remarks: on what was found in the data.
    """

    form: Form
    train: Sequence[Question]
    validation: Sequence[Question]
    test: Sequence[Question]
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True)
class QuestionCorpus(Source):
    """Questions that can be read, and what determines them.

    Args:
        name: the registered name, or the path as the user gave it.
        identity: everything that determines the questions (package versions, digests), as plain text.
        rows: returns the rows by part, ``train`` and where there are such ``validation`` and ``test``, in the
            same order each time.
    """

    holds: ClassVar[str] = "questions"

    rows: Callable[[], Mapping[str, Rows]]

    def read(self, fields: Sequence[str]) -> QuestionData:
        """Read all questions.

        Args:
            fields: what the prompt needs of each.

        Raises:
            GraftworkError: a row does not fit, or there is none.
        """
        parts: dict[str, list[Question]] = {}
        remarks: list[Remark] = []
        form: Form | None = None
        contrary = ContraryAnswers(
            "questions_with_contrary_answers", "question(s) stand with more than one right option"
        )
        for part, rows in self.rows().items():
            parts[part] = []
            for where, row in rows:
                here: Form = "free" if row.get("options") is None else "choice"
                if here != (form or here):
                    raise GraftworkError(
                        f"{where}: field 'options' is {'there' if here == 'choice' else 'missing'}, "
                        "and the rows before are otherwise; all rows must have options, or none"
                    )
                form = here
                question = _question(where, row, fields)
                parts[part].append(question)
                if form == "choice":
                    key = fingerprint(*question.texts, *sorted(question.options))
                    contrary.add(key, question.answers[0], where.removeprefix(f"{self.name}, "))
        if form is None or not parts["train"]:
            raise GraftworkError(f"{self.name}: holds no questions")
        train, test = parts["train"], parts.get("test")
        if test is None:
            train, test = held_out(train, Question.key)
            if repeated := len(parts["train"]) - len(train) - len(test):
                told = f"{repeated} row(s) repeat an earlier question and are left out"
                remarks.append(Remark("repeated_rows", repeated, told))
        remarks += contrary.remarks()
        return QuestionData(form, train, parts.get("validation", ()), test, tuple(remarks))


def question_files(paths: Mapping[str, Path], *, name: str) -> QuestionCorpus:
    """Return the questions of one, two or three files.

    Args:
        paths: existing ``.jsonl`` files by part.
        name: what to call the corpus in messages and records.

    Raises:
        GraftworkError: a file cannot be read.
    """
    known = known_files(paths)
    return QuestionCorpus(name, {"reading": "1", **digests(known)}, partial(_rows, known))


def _rows(files: Mapping[str, KnownFile]) -> dict[str, Rows]:
    return {part: _placed(file) for part, file in files.items()}


def _placed(file: KnownFile) -> Rows:
    is_empty = True
    for line, row in file.read(records):
        is_empty = False
        yield f"{file.path}, line {line}", row
    if is_empty:
        raise GraftworkError(f"{file.path}: holds no rows, and at least one question is needed")


def _question(where: str, row: Mapping[str, Any], fields: Sequence[str]) -> Question:
    for field in fields:
        if not is_text(row.get(field)):
            found = (
                f"is {shown(row[field])}, and must be a text"
                if field in row
                else f"is missing{did_you_mean(field, list(row))}; its fields are {', '.join(row) or 'none'}"
            )
            raise GraftworkError(f"{where}: field {field!r}, which the prompt names, {found}")
    texts = tuple(str(row[field]) for field in fields)
    if row.get("options") is None:
        if "answers" not in row:
            raise GraftworkError(
                f"{where}: field 'answers' is missing; give the right answers, or 'options' with 'answer'"
            )
        return Question(texts, _texts(where, "answers", row["answers"], least=1))
    options = _texts(where, "options", row["options"], least=_LEAST_OPTIONS)
    if len(set(options)) < len(options):
        raise GraftworkError(f"{where}: field 'options' holds the same text twice: {list(options)}")
    return Question(texts, (_right(where, row.get("answer"), options),), options)


def _right(where: str, answer: Any, options: tuple[str, ...]) -> str:
    if isinstance(answer, str) and answer.strip() in options:
        return answer.strip()
    # A whole number that was written as a float once an answer was missing.
    if isinstance(answer, float) and answer.is_integer():
        answer = int(answer)
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(options):
        return options[answer]
    raise GraftworkError(
        f"{where}: field 'answer' must be one of the options or its place, 0 to {len(options) - 1}; got "
        f"{answer!r}, and the options are {list(options)}"
    )


def _texts(where: str, field: str, given: Any, *, least: int) -> tuple[str, ...]:
    right = isinstance(given, list) and len(given) >= least
    if not right or not all(is_text(text) and str(text).strip() for text in given):
        raise GraftworkError(
            f"{where}: field {field!r} must be a list of at least {least} text(s), none of them empty; got "
            f"{given!r}"
        )
    texts = tuple(str(text).strip() for text in given)
    for text in texts:
        if "\n" in text:
            raise GraftworkError(
                f"{where}: field {field!r} holds a line's end in {text!r}; an answer is one line"
            )
    return texts
