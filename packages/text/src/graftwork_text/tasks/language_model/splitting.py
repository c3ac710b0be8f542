"""Training documents and held-out ones, with nothing said word for word in both."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from graftwork.errors import GraftworkError
from graftwork.realdata import split_fraction
from graftwork_text.corpora import Document

_BLANK_LINES = re.compile(r"\n\s*\n")


@dataclass(frozen=True, slots=True)
class SplitDocuments:
    """The two parts of a corpus.

    Args:
        train: documents to learn from.
        validation: held-out documents.
        duplicate_documents: how many were left out because another document had the same text.
        shared_paragraphs: how many were cut out of held-out documents because a training document has them.
    """

    train: tuple[Document, ...]
    validation: tuple[Document, ...]
    duplicate_documents: int
    shared_paragraphs: int


def split_documents(documents: Iterable[Document], validation_fraction: float) -> SplitDocuments:
    """Split by a stable hash of each document's identifier, so that a document stays where it is as others
    come.

    Of documents with the same text (up to white space) the first is kept. A paragraph of a held-out document
    that also stands in a training document is cut out. Each part gets at least one document.

    Args:
        documents: two or more different ones.
        validation_fraction: expected share of held-out documents, between 0 and 1.

    Raises:
        GraftworkError: there are fewer than two different documents, or the held-out ones say nothing new.
    """
    unique: dict[bytes, Document] = {}
    count = 0
    for document in documents:
        count += 1
        if document.text.strip():
            unique.setdefault(_fingerprint(document.text), document)
    if len(unique) < 2:
        raise GraftworkError(
            f"found {len(unique)} document(s) with text, and at least 2 different ones are needed: "
            "one to learn from and one to hold out (one text file alone is cut at its paragraphs, lines or "
            "sentences)"
        )
    by_hash = sorted(unique.values(), key=lambda document: split_fraction(document.identifier))
    held_out = sum(split_fraction(document.identifier) < validation_fraction for document in by_hash)
    held_out = min(max(held_out, 1), len(by_hash) - 1)
    learnt_from = {document.identifier for document in by_hash[held_out:]}

    train = tuple(document for document in unique.values() if document.identifier in learnt_from)
    learnt = {_fingerprint(block) for document in train for block in _BLANK_LINES.split(document.text)}
    validation, shared = [], 0
    for document in by_hash[:held_out]:
        kept, cut = _without(document, learnt)
        shared += cut
        if kept.text:
            validation.append(kept)
    if not validation:
        raise GraftworkError("every paragraph of the held-out documents also stands in a training document")
    return SplitDocuments(train, tuple(validation), count - len(unique), shared)


def _fingerprint(text: str) -> bytes:
    """The same for texts that differ in white space only; shorter than a text, so that many fit in memory."""
    return hashlib.blake2b(" ".join(text.split()).encode(), digest_size=16).digest()


def _without(document: Document, learnt: set[bytes]) -> tuple[Document, int]:
    blocks = _BLANK_LINES.split(document.text)
    kept = [block for block in blocks if _fingerprint(block) not in learnt]
    if len(kept) == len(blocks):
        return document, 0
    return Document(document.identifier, "\n\n".join(kept).strip()), len(blocks) - len(kept)
