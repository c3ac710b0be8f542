"""Prompts and verbalizers, from a TOML file: how a classification becomes a sentence to complete.

::

    template = "{text} It was {label}."       # fields of the data, and where the label's word goes

    [labels]                                  # from the label's name in the data to its words
    rotten = "terrible"
    fresh = "great"

    [causal-lm]                               # template, labels and content_free may differ by scoring
    content_free = "N/A"                      # what stands for every field where scores are calibrated

    [similarity]
    text = "{text}"                           # what is compared with ...
    label = "This movie is {label}."          # ... the sentence of each label

    [answering]                               # for questions with their answers, which need no labels
    template = "{context}\\nQuestion: {question}\\nAnswer: {answer}"

``[labels]`` may name labels that the data does not have, so one file serves several data sets.

Raises:
    GraftworkError: the file is not there, not TOML, or does not fit the data; the message names the key.
"""

from __future__ import annotations

import string
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from graftwork.errors import GraftworkError, did_you_mean
from graftwork.realdata import digest

_PLACE = "{label}"
_PLACE_OF_ANSWERS = "{answer}"
_SCORINGS = ("masked-lm", "causal-lm", "similarity", "answering")
_KEYS = ("description", "template", "labels", "content_free", "text", "label")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One way of asking, for one data set.

    Args:
        before: text before the label's word, with fields in braces; no white space at its end.
        space: white space between ``before`` and the word.
        after: text after the word.
        words: one for each label of the data, in the order of the labels' numbers.
        content_free: stands for every field in the prompt that scores are calibrated by.
        fields: names of the data's texts.
    """

    before: str
    space: str
    after: str
    words: tuple[str, ...]
    content_free: str
    fields: tuple[str, ...]

    def filled(self, part: str, texts: Sequence[str]) -> str:
        """A part of the template with the texts of an example in place of the fields."""
        return part.format(**dict(zip(self.fields, texts, strict=True)))

    def without_content(self, part: str) -> str:
        """A part of the template with nothing of an example in it."""
        return self.filled(part, [self.content_free] * len(self.fields))


@dataclass(frozen=True, slots=True)
class LabelSentences:
    """What a sentence encoder compares.

    Args:
        text: template of the text, with fields in braces.
        sentences: one for each label of the data, in the order of the labels' numbers.
        fields: names of the data's texts.
    """

    text: str
    sentences: tuple[str, ...]
    fields: tuple[str, ...]

    def filled(self, texts: Sequence[str]) -> str:
        """The text of an example."""
        return self.text.format(**dict(zip(self.fields, texts, strict=True)))


def shipped_prompts(package: str) -> tuple[str, ...]:
    """The names of the prompt files that come with a package.

    Args:
        package: which one.
    """
    return tuple(sorted(file.name.removesuffix(".toml") for file in _folder(package).iterdir()))


class PromptFile:
    """A file of prompts, read but not yet fitted to data.

    Args:
        name: a shipped name, or the path of a ``.toml`` file.
        package: whose files are the shipped ones.

    >>> file = PromptFile("sentiment-was", package="graftwork_text.tasks.classification")
    >>> file.for_words("causal-lm", ("text",), ("rotten", "fresh")).words
    ('terrible', 'great')
    """

    def __init__(self, name: str, *, package: str) -> None:
        self.name = name
        self._shipped = shipped = shipped_prompts(package)
        path = _folder(package) / f"{name}.toml" if name in shipped else Path(name).expanduser()
        if not path.is_file():
            raise GraftworkError(
                f"prompts {name!r} is neither the path of a .toml file nor one of "
                f"{', '.join(shipped)}{did_you_mean(name, shipped)}"
            )
        try:
            self._content = tomllib.loads(path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise GraftworkError(f"prompts {name!r}: not a TOML file: {error}") from error
        self.sha256 = digest(path)
        for table, content in {"": self._content, **self._of_scorings()}.items():
            known = _KEYS if table else (*_KEYS, *_SCORINGS)
            for key in content:
                if key not in known:
                    raise GraftworkError(
                        f"prompts {name!r}: unknown key {key!r}{f' in [{table}]' if table else ''}"
                        f"{did_you_mean(key, known)}; known are {', '.join(known)}"
                    )

    def for_words(self, scoring: str, fields: Sequence[str], labels: Sequence[str]) -> Prompt:
        """The prompt of a scoring that completes the template.

        Args:
            scoring: ``masked-lm`` or ``causal-lm``.
            fields: names of the data's texts.
            labels: names of the data's labels.
        """
        template = self._text("template", scoring)
        if template.count(_PLACE) != 1:
            raise GraftworkError(f"prompts {self.name!r}: template must hold {_PLACE} once, got {template!r}")
        before, after = template.split(_PLACE)
        for part in (before, after):
            self._check_fields(part, fields, "template")
        if not _fields_in(template, excluding="label"):
            raise GraftworkError(
                f"prompts {self.name!r}: template {template!r} holds no text of the data; its fields are "
                f"{_in_braces(fields)}"
            )
        bare = before.rstrip()
        return Prompt(
            before=bare,
            space=before[len(bare) :],
            after=after,
            words=self._words(scoring, labels),
            content_free=self._text("content_free", scoring, default=""),
            fields=tuple(fields),
        )

    def for_sentences(self, fields: Sequence[str], labels: Sequence[str]) -> LabelSentences:
        """The sentences of a scoring by similarity.

        Args:
            fields: names of the data's texts.
            labels: names of the data's labels.
        """
        text = self._text("text", "similarity", default=" ".join(f"{{{field}}}" for field in fields))
        sentence = self._text("label", "similarity", default=_PLACE)
        self._check_fields(text, fields, "text")
        if sentence.count(_PLACE) != 1 or _fields_in(sentence, excluding="label"):
            raise GraftworkError(
                f"prompts {self.name!r}: label in [similarity] must hold {_PLACE} once and no other field, "
                f"got {sentence!r}"
            )
        words = self._words("similarity", labels)
        return LabelSentences(text, tuple(sentence.format(label=word) for word in words), tuple(fields))

    def for_answers(self) -> Prompt:
        """The prompt that an answer goes on from; its fields are those that the template names.

        A line's end before the answer belongs to the prompt: after one, a generated answer would be over.
        """
        template = self._text("template", "answering")
        before, place, after = template.partition(_PLACE_OF_ANSWERS)
        if not place or after.strip():
            raise GraftworkError(
                f"prompts {self.name!r}: template must hold {_PLACE_OF_ANSWERS} once, at its end, for "
                f"answering; got {template!r}"
            )
        try:
            fields = tuple(dict.fromkeys(_fields_in(before)))
        except ValueError as error:
            raise GraftworkError(f"prompts {self.name!r}: template {template!r}: {error}") from error
        for field in fields:
            if not field or field.isdecimal() or set(field) & set(".["):
                raise GraftworkError(
                    f"prompts {self.name!r}: template {template!r}: braces must hold the name of a field of "
                    f"the data, got {{{field}}}"
                )
        if not fields:
            raise GraftworkError(f"prompts {self.name!r}: template {template!r} holds no text of the data")
        bare = before.rstrip(" \t")
        return Prompt(
            before=bare,
            space=before[len(bare) :],
            after="",
            words=(),
            content_free=self._text("content_free", "answering", default=""),
            fields=fields,
        )

    def _of_scorings(self) -> dict[str, Mapping[str, Any]]:
        tables = {name: self._content.get(name, {}) for name in _SCORINGS}
        for name, table in tables.items():
            if not isinstance(table, Mapping):
                raise GraftworkError(f"prompts {self.name!r}: {name} must be a table, got {table!r}")
        return tables

    def _value(self, key: str, scoring: str) -> Any:
        return self._of_scorings()[scoring].get(key, self._content.get(key))

    def _text(self, key: str, scoring: str, *, default: str | None = None) -> str:
        value = self._value(key, scoring)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            found = "it is missing" if value is None else f"got {value!r}"
            raise GraftworkError(f"prompts {self.name!r}: {key} must be a string for {scoring}; {found}")
        return value

    def _words(self, scoring: str, labels: Sequence[str]) -> tuple[str, ...]:
        given = self._value("labels", scoring)
        if not isinstance(given, Mapping) or not all(isinstance(word, str) for word in given.values()):
            raise GraftworkError(
                f"prompts {self.name!r}: [labels] must give a string for each label; got {given!r}"
            )
        missing = [label for label in labels if not str(given.get(label, "")).strip()]
        if missing:
            raise GraftworkError(
                f"prompts {self.name!r}: [labels] has no words for {', '.join(missing)}; it has some for "
                f"{', '.join(given)} (shipped files: {', '.join(self._shipped)}; or give your own)"
            )
        words = tuple(str(given[label]).strip() for label in labels)
        if len(set(words)) < len(words):
            raise GraftworkError(
                f"prompts {self.name!r}: [labels] gives two labels of the data the same words: "
                f"{', '.join(f'{label} = {word!r}' for label, word in zip(labels, words, strict=True))}"
            )
        return words

    def _check_fields(self, template: str, fields: Sequence[str], key: str) -> None:
        try:
            found = _fields_in(template)
        except ValueError as error:
            raise GraftworkError(f"prompts {self.name!r}: {key} {template!r}: {error}") from error
        for field in found:
            if field not in fields:
                raise GraftworkError(
                    f"prompts {self.name!r}: {key} names the field {{{field}}}, which the data does not have"
                    f"{did_you_mean(field, fields)}; its fields are {_in_braces(fields)}"
                )


def _folder(package: str) -> Any:
    return resources.files(package) / "prompt_files"


def _fields_in(template: str, *, excluding: str | None = None) -> list[str]:
    names = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    return [name for name in names if name != excluding]


def _in_braces(fields: Sequence[str]) -> str:
    return ", ".join(f"{{{field}}}" for field in fields)
