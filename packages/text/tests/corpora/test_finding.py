"""Data that is named by a path which leads nowhere.

Reached from here: ``corpora/file_identity.py``, ``sources/registered.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from graftwork import GraftworkError
from graftwork_text.corpora import (
    HeldOutFiles,
    LabelledFiles,
    find_corpus,
    find_labelled_corpus,
    find_questions,
)

FIND: dict[str, Callable[[str], object]] = {
    "documents": find_corpus,
    "labels": find_labelled_corpus,
    "questions": find_questions,
}


@pytest.mark.parametrize("sort", FIND)
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", "a link to nowhere, which leads nowhere; mend or remove it"),
        ("self", "cannot be read: Too many levels of symbolic links"),
        ("x" * 999, "cannot be read: File name too long"),
        ("a\0b", "cannot be read: embedded null"),
        ("none", "existing"),
    ],
)
def test_a_path_that_leads_nowhere_is_one_sentence(
    tmp_path: Path, sort: str, name: str, message: str
) -> None:
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "self").symlink_to("self")
    with pytest.raises(GraftworkError, match=f"^data .*{message}"):
        FIND[sort](str(tmp_path / name))


@pytest.mark.parametrize("part", ["validation_data", "test_data"])
def test_the_option_of_a_further_file_is_named(tmp_path: Path, part: str) -> None:
    table = tmp_path / "rows.jsonl"
    table.write_text('{"text": "a", "label": 1}\n')
    (tmp_path / "gone").symlink_to("nowhere")
    given = {part: str(tmp_path / "gone")}
    with pytest.raises(GraftworkError, match=f"^{part} .*a link to nowhere"):
        find_labelled_corpus(str(table), LabelledFiles(**given))
    with pytest.raises(GraftworkError, match=f"^{part} .*a link to nowhere"):
        find_questions(str(table), HeldOutFiles(**given))


@pytest.mark.parametrize("sort", ["labels", "questions"])
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, sort: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "rows.jsonl"
    table.touch()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(table))

    monkeypatch.setattr("graftwork_text.corpora.file_identity.digests_of", refuse)
    with pytest.raises(GraftworkError, match=f"^{table}: cannot be read: Permission denied"):
        FIND[sort](str(table))
