"""Pieces of texts, short enough to be tokenized at little cost: an encoding takes 250 bytes of memory a byte.

A text is cut where a word begins: before its space, or after a punctuation mark that it follows at once.
The words of byte-level BPE end there, so the tokens of the pieces are those of the whole. For tokenizers that
look further, or treat the beginning of a text in their own way, a piece is encoded with what stands before
and after it, of which the tokens are dropped. Only where no word begins within tens of thousands of
characters is a text cut as it comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# About 30 MB of memory, and enough text that a call of the tokenizer costs nothing beside.
LONGEST_PIECE_CHARACTERS = 1 << 17
_AROUND_CHARACTERS = 256


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a text, with what stands around it.

    Args:
        window: the piece in its surroundings.
        start: where in the window it begins.
        end: where it ends.
        ends_text: whether it is its text's last.
    """

    window: str
    start: int
    end: int
    ends_text: bool

    @property
    def text(self) -> str:
        """The piece alone."""
        return self.window[self.start : self.end]

    @property
    def is_alone(self) -> bool:
        """Whether there is nothing around it."""
        return self.end - self.start == len(self.window)


def pieces_of(texts: Iterable[str], longest: int = LONGEST_PIECE_CHARACTERS) -> Iterator[Piece]:
    """Cut texts into pieces; most texts are one.

    Args:
        texts: of any length.
        longest: characters of a piece at most.

    >>> "|".join(piece.text for piece in pieces_of(["to be or not to be"], 8))
    'to be or| not to| be'
    """
    for text in texts:
        start, before = 0, 0
        while len(text) - start > longest:
            end = _place(text, start + longest // 2, start + longest)
            after = 0 if end is None else _AROUND_CHARACTERS
            end = end or start + longest
            yield _piece(text, start, end, before, after)
            start, before = end, after
        yield _piece(text, start, len(text), before, 0)


def _piece(text: str, start: int, end: int, before: int, after: int) -> Piece:
    begin = max(start - before, 0)
    return Piece(text[begin : end + after], start - begin, end - begin, end == len(text))


def _place(text: str, lowest: int, highest: int) -> int | None:
    """The last place in a range where a word begins, with its space if it has one."""
    for place in range(highest, lowest, -1):
        before, here = text[place - 1], text[place]
        if here.isspace():
            if not before.isspace() and text[place + 1 : place + 2].isalpha():
                return place
        # An apostrophe may belong to what follows, as in "it's".
        elif here.isalpha() and not (before.isalnum() or before.isspace() or before == "'"):
            return place
    return None


def grouped(pieces: Iterable[Piece], most: int = 256) -> Iterator[list[Piece]]:
    """Pieces by the list, each of no more characters than one piece may have, or a single piece.

    Args:
        pieces: of any texts.
        most: pieces in a list.
    """
    group: list[Piece] = []
    characters = 0
    for piece in pieces:
        if group and (len(group) == most or characters + len(piece.window) > LONGEST_PIECE_CHARACTERS):
            yield group
            group, characters = [], 0
        group.append(piece)
        characters += len(piece.window)
    if group:
        yield group
