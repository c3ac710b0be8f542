"""Text to train on: a registered name, a file or a folder becomes a corpus.

Three sorts: documents (:func:`find_corpus`), examples with labels (:func:`find_labelled_corpus`) and
questions with answers (:func:`find_questions`), the latter two in parts to learn from and to test on.

A corpus says what determines its text (its ``identity``: versions or digests, cheap to know) before any of it
is read, so that a cache can answer in its place. Names are components of the kind ``corpus``, of this or any
other plugin: a function without required parameters that returns one of the three.
"""

from __future__ import annotations

from graftwork_text.corpora.corpus import Corpus, Document, Source
from graftwork_text.corpora.finding import (
    corpus_names,
    find_corpus,
    find_labelled_corpus,
    find_questions,
)
from graftwork_text.corpora.held_out import HeldOutFiles
from graftwork_text.corpora.labelled import LabelledCorpus, LabelledData, LabelledExample
from graftwork_text.corpora.questions import Question, QuestionCorpus, QuestionData
from graftwork_text.corpora.remarks import Remark
from graftwork_text.corpora.tables import LabelledFiles

__all__ = [
    "Source",
    "Corpus",
    "Document",
    "find_corpus",
    "LabelledCorpus",
    "LabelledData",
    "LabelledExample",
    "LabelledFiles",
    "find_labelled_corpus",
    "Question",
    "QuestionCorpus",
    "QuestionData",
    "HeldOutFiles",
    "find_questions",
    "Remark",
    "corpus_names",
]
