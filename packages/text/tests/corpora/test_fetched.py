"""The corpora from the package index: sizes as published."""

from __future__ import annotations

import pytest

from graftwork import GraftworkError
from graftwork_text.corpora import Document, find_corpus

pytestmark = pytest.mark.realdata


def documents_of(name: str) -> list[Document]:
    try:
        return list(find_corpus(name).read())
    except GraftworkError as error:
        if "could not fetch" in str(error):
            pytest.skip(str(error))
        raise


@pytest.mark.parametrize(
    ("name", "documents", "different", "million_characters"),
    [
        ("bbc-news", 2225, 2127, 4.8),
        ("news-articles", 3788, 3781, 12.5),
        ("wikipedia-excerpt", 107, 107, 5.7),
    ],
)
def test_sizes(name: str, documents: int, different: int, million_characters: float) -> None:
    found = documents_of(name)
    texts = {document.text for document in found}
    assert len(found) == documents
    assert len({document.identifier for document in found}) == documents
    assert len(texts) == different
    assert sum(map(len, texts)) / 1e6 == pytest.approx(million_characters, abs=0.05)
