"""The labelled sets from the package index: sizes and balance as published, films on one side."""

from __future__ import annotations

import pytest

from graftwork import GraftworkError
from graftwork_text.corpora import LabelledData, find_labelled_corpus

pytestmark = pytest.mark.realdata


def data_of(name: str) -> LabelledData:
    try:
        return find_labelled_corpus(name).read()
    except GraftworkError as error:
        if "could not fetch" in str(error):
            pytest.skip(str(error))
        raise


def test_rotten_tomatoes_has_12752_sentences_and_2551_of_them_for_the_test() -> None:
    data = data_of("rotten-tomatoes")
    assert data.labels == ("rotten", "fresh")
    assert len(data.train) + len(data.validation) == 10_201
    assert len(data.test) == 2_551
    assert sum(example.label for example in data.test) / len(data.test) == pytest.approx(0.530, abs=5e-4)
    parts = [{example.texts for example in part} for part in (data.train, data.validation, data.test)]
    assert len(set.union(*parts)) == 12_752


def test_bbc_topics_has_2127_stories_and_429_of_them_for_the_test() -> None:
    data = data_of("bbc-topics")
    assert data.labels == ("business", "entertainment", "politics", "sports", "tech")
    assert (len(data.train), len(data.test)) == (1_698, 429)
    counts = [sum(example.label == number for example in data.test) for number in range(5)]
    assert max(counts) / 429 == pytest.approx(0.252, abs=5e-4)
