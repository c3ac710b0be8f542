"""What a corpus is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Document:
    """One text that is wholly training text or wholly held out.

    Args:
        identifier: unique in its corpus and the same on every machine; decides the split.
        text: the whole text; paragraphs are separated by blank lines.
    """

    identifier: str
    text: str


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents that can be read, and what determines them.

    Args:
        name: the registered name, or the path as the user gave it.
        identity: everything that determines the documents (package versions, digests), as plain text.
        read: returns the documents, in the same order each time.
    """

    name: str
    identity: Mapping[str, str]
    read: Callable[[], Iterable[Document]]
