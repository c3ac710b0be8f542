"""A user's questions, from files of JSON lines.

Each row holds the fields that the prompt names and one of two forms, the same in all rows::

    {"premise": "...", "options": ["...", "..."], "answer": 1}         # a choice; answer by place or text
    {"context": "...", "question": "...", "answers": ["...", "..."]}   # right ones, the first to learn from

Places count from 0. Where there is no file of test questions, a fifth (by a stable hash of their fields and
options, repeated ones counted once) is held out.

Raises:
    GraftworkError: a file or a row does not fit; the message names file, line and field.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from graftwork.errors import GraftworkError, did_you_mean
from graftwork.realdata import digest, split_fraction
from graftwork_text.corpora.labelled_fetched import TEST_SHARE
from graftwork_text.corpora.tables import records

Form = Literal["choice", "free"]
_LEAST_OPTIONS = 2
# Between the texts of one question where they are hashed together; no text holds it.
_BETWEEN_TEXTS = "\x1f"


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
        return _BETWEEN_TEXTS.join((*self.texts, *self.options))


@dataclass(frozen=True, slots=True)
class QuestionData:
    """All questions of some files.

    Args:
        form: ``choice`` or ``free``.
        train: to learn from.
        validation: for choices along the way; empty where they are to be drawn from ``train``.
        test: for the last word.
    """

    form: Form
    train: Sequence[Question]
    validation: Sequence[Question]
    test: Sequence[Question]


class QuestionFiles:
    """Files of questions that are there but not yet read.

    Args:
        data: the questions to learn from.
        validation_data: a file of questions for validation, or None.
        test_data: a file of test questions, or None.
    """

    def __init__(self, data: str, *, validation_data: str | None, test_data: str | None) -> None:
        self.name = data
        self.identity = {"reading": "1"}
        self._paths: dict[str, Path] = {}
        given = {"train": data, "validation": validation_data, "test": test_data}
        for part, name in given.items():
            if name is None:
                continue
            path = Path(name).expanduser()
            if path.suffix.lower() != ".jsonl" or not path.is_file():
                option = "data" if part == "train" else f"{part}_data"
                found = "is not a file" if path.suffix.lower() == ".jsonl" else "is not a .jsonl file"
                raise GraftworkError(f"{option} {name!r} {found}; give a .jsonl file, one question a line")
            self._paths[part] = path
            self.identity[f"{part}_sha256"] = digest(path)

    def read(self, fields: Sequence[str]) -> QuestionData:
        """Read all questions.

        Args:
            fields: what the prompt needs of each.
        """
        parts: dict[str, list[Question]] = {}
        form: Form | None = None
        for part, path in self._paths.items():
            parts[part] = []
            for place, row in records(path):
                here: Form = "choice" if "options" in row else "free"
                if here != (form or here):
                    raise GraftworkError(
                        f"{path}, {place}: field 'options' is {'there' if here == 'choice' else 'missing'}, "
                        "and the rows before are otherwise; all rows must have options, or none"
                    )
                form = here
                parts[part].append(_question(f"{path}, {place}", row, fields))
        if form is None or not parts["train"]:
            raise GraftworkError(f"{self._paths['train']}: holds no questions")
        train, test = parts["train"], parts.get("test")
        if test is None:
            unique = list({question.key(): question for question in reversed(train)}.values())[::-1]
            held_out = [split_fraction(question.key()) < TEST_SHARE for question in unique]
            train = [question for question, out in zip(unique, held_out, strict=True) if not out]
            test = [question for question, out in zip(unique, held_out, strict=True) if out]
        return QuestionData(form, train, parts.get("validation", ()), test)


def digest_of(parts: Sequence[Sequence[Question]]) -> str:
    """SHA-256 over every question of every part, in order."""
    total = hashlib.sha256()
    for part in parts:
        for question in part:
            total.update(repr((question.texts, question.options, question.answers)).encode())
        total.update(b"\x1d")
    return total.hexdigest()


def _question(where: str, row: Mapping[str, Any], fields: Sequence[str]) -> Question:
    for field in fields:
        if not _is_text(row.get(field)):
            found = f"is {row[field]!r}, and must be a text" if field in row else "is missing"
            raise GraftworkError(
                f"{where}: field {field!r}, which the prompt names, {found}"
                f"{did_you_mean(field, list(row))}; its fields are {', '.join(row)}"
            )
    texts = tuple(str(row[field]) for field in fields)
    if "options" not in row:
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
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(options):
        return options[answer]
    raise GraftworkError(
        f"{where}: field 'answer' must be one of the options or its place, 0 to {len(options) - 1}; got "
        f"{answer!r}, and the options are {list(options)}"
    )


def _texts(where: str, field: str, given: Any, *, least: int) -> tuple[str, ...]:
    right = isinstance(given, list) and len(given) >= least
    if not right or not all(_is_text(text) and str(text).strip() for text in given):
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


def _is_text(value: Any) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)
