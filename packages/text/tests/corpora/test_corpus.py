"""Finding a corpus by name or by path."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from graftwork import GraftworkError
from graftwork_text.corpora import Corpus, corpus_names, find_corpus


@pytest.mark.parametrize("name", corpus_names(Corpus))
def test_registered_names_read_nothing_yet(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "cache"))
    corpus = find_corpus(name)
    assert corpus.name == name
    assert all(isinstance(value, str) for value in corpus.identity.values())
    assert not (tmp_path / "cache").exists()


def test_unknown_name_says_what_was_meant() -> None:
    with pytest.raises(GraftworkError) as raised:
        find_corpus("bbc-new")
    message = str(raised.value)
    for part in ("'bbc-new'", "did you mean 'bbc-news'?", "installed-prose", ".txt"):
        assert part in message


def test_missing_path_is_named() -> None:
    with pytest.raises(GraftworkError, match="'/no/such/folder' is neither a corpus nor an existing path"):
        find_corpus("/no/such/folder")


def test_empty_name() -> None:
    with pytest.raises(GraftworkError, match="neither a corpus nor an existing path"):
        find_corpus("")


def test_corpora_need_no_torch() -> None:
    code = (
        "import sys; from graftwork_text.corpora import find_corpus; "
        "find_corpus('installed-prose'); find_corpus('bbc-news'); "
        "sys.exit(bool({'torch', 'numpy', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
