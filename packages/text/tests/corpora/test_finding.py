"""Data that is named by a path which leads nowhere.

Reached from here: ``corpora/file_identity.py``, ``sources/registered.py``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

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

    monkeypatch.setattr("graftwork_trainer.file_digests.hashlib.file_digest", refuse)
    with pytest.raises(GraftworkError, match=f"^{table}: cannot be read: permission denied"):
        FIND[sort](str(table))


@pytest.mark.parametrize("sort", ["labels", "questions"])
def test_a_table_that_changes_after_its_digest_is_not_read_under_the_old_one(
    tmp_path: Path, sort: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "cache"))
    table = tmp_path / "rows.jsonl"
    rows = [
        {"text": f"{number}", "label": number % 2, "question": f"{number}?", "answers": ["a"]}
        for number in range(9)
    ]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus: Any = FIND[sort](str(table))
    table.write_text("".join(json.dumps(row) + "\n" for row in rows[::-1]))
    with pytest.raises(GraftworkError, match=f"^{table}: changed since its digest was taken"):
        corpus.read() if sort == "labels" else corpus.read(["question"])
