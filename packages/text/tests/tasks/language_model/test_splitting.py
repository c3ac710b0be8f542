"""Splits by document, without leaks."""

from __future__ import annotations

import pytest

from graftwork import GraftworkError
from graftwork.realdata import split_fraction
from graftwork_text.corpora import Document
from graftwork_text.tasks.language_model.splitting import split_documents


def documents(count: int) -> list[Document]:
    return [
        Document(f"document-{number}", f"This is the text of number {number}.") for number in range(count)
    ]


def test_split_is_by_the_hash_of_the_identifier() -> None:
    parts = split_documents(documents(500), 0.1)
    assert all(split_fraction(document.identifier) < 0.1 for document in parts.validation)
    assert all(split_fraction(document.identifier) >= 0.1 for document in parts.train)
    assert 30 < len(parts.validation) < 70
    assert len(parts.train) + len(parts.validation) == 500


def test_documents_stay_where_they_are_as_others_come() -> None:
    before, after = split_documents(documents(200), 0.1), split_documents(documents(300), 0.1)
    assert set(before.validation) <= set(after.validation)
    assert set(before.train) <= set(after.train)


def test_order_is_kept() -> None:
    given = documents(100)
    train = split_documents(given, 0.2).train
    assert list(train) == [document for document in given if document in train]


def test_held_out_documents_come_in_the_order_of_their_hashes() -> None:
    validation = split_documents(documents(100), 0.2).validation
    fractions = [split_fraction(document.identifier) for document in validation]
    assert fractions == sorted(fractions)


def test_duplicates_are_left_out() -> None:
    copies = [Document(f"copy-{number}", "This  is the\ntext of number 3.") for number in range(50)]
    parts = split_documents([*documents(20), *copies, Document("empty", " \n ")], 0.3)
    assert len(parts.train) + len(parts.validation) == 20
    assert parts.duplicate_documents == 51


def test_shared_paragraphs_are_cut_out_of_held_out_documents() -> None:
    shared = "All rights are\nreserved by nobody."
    given = [
        Document(document.identifier, f"{document.text}\n\n{shared}\n\nEnd of {document.identifier}.")
        for document in documents(100)
    ]
    parts = split_documents(given, 0.2)
    assert all(shared in document.text for document in parts.train)
    assert not any("reserved" in document.text for document in parts.validation)
    assert all(document.text.count("\n\n") == 1 for document in parts.validation)
    assert parts.shared_paragraphs == len(parts.validation)


@pytest.mark.parametrize("fraction", [1e-9, 1 - 1e-9])
def test_each_part_gets_a_document(fraction: float) -> None:
    parts = split_documents(documents(2), fraction)
    assert len(parts.train) == len(parts.validation) == 1


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_documents(count: int) -> None:
    with pytest.raises(GraftworkError, match=f"found {count} document"):
        split_documents(documents(count), 0.1)


def test_nothing_new_held_out() -> None:
    given = [Document("a", "one\n\ntwo"), Document("b", "two\n\none")]
    with pytest.raises(GraftworkError, match="also stands in a training document"):
        split_documents(given, 0.5)
