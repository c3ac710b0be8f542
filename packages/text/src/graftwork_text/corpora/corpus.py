"""What a corpus of documents is, and what every corpus has."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

# What stands between the parts of a document, and where a text is cut into them.
PARTS = {"\n\n": re.compile(r"\n\s*\n"), "\n": re.compile(r"\n"), " ": re.compile(r"(?<=[.!?])\s+")}


@dataclass(frozen=True, slots=True)
class Document:
    """One text that is wholly training text or wholly held out.

    Args:
        identifier: unique in its corpus and the same on every machine; decides the split.
        text: the whole text.
        between: what stands between its parts, which must not be learnt from where they are held out: a blank
            line between paragraphs, a line end (``"\\n"``) between lines, a space between sentences.
        cut: whether a text that is one file was cut there into this and others.
    """

    identifier: str
    text: str
    between: str = "\n\n"
    cut: bool = False

    def parts(self) -> list[str]:
        r"""Its paragraphs, lines or sentences.

        >>> Document("a", "One\n\nTwo").parts(), Document("b", "One. Two.", " ").parts()
        (['One', 'Two'], ['One.', 'Two.'])
        """
        return PARTS[self.between].split(self.text)


@dataclass(frozen=True)
class Source:
    """What text of any sort has before a word of it is read.

    Args:
        name: the registered name, or the path as the user gave it.
        identity: everything that determines the text (package versions, digests), as plain text; caches go
            by it.

    Raises:
        ValueError: the identity is empty.
    """

    holds: ClassVar[str]

    name: str
    identity: Mapping[str, str]

    def __post_init__(self) -> None:
        if not self.identity:
            raise ValueError(f"identity of the corpus {self.name!r} must name what determines it, got none")


@dataclass(frozen=True)
class Corpus(Source):
    """Documents that can be read, and what determines them.

    Args:
        name: the registered name, or the path as the user gave it.
        identity: everything that determines the documents (package versions, digests), as plain text.
        read: returns the documents, in the same order each time.
        cut: how text becomes documents, as a clause for messages.
    """

    holds: ClassVar[str] = "documents"

    read: Callable[[], Iterable[Document]]
    cut: str = ""
