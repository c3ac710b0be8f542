"""One text becomes documents: where lines say so, else at blank lines, line ends or ends of sentences.

Lines of ``<|endoftext|>`` alone separate documents, as in many corpora that are one file. Where there are
none, paragraphs are gathered into documents of about 2,000 characters; of a text without blank lines (a form
feed counts as one) its lines are, and of a single line its sentences. Of a short text a tenth is enough for
a document. A long text is read twice and never held as a whole, unless it is a single line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from graftwork_text.corpora.corpus import PARTS

END_OF_TEXT = "<|endoftext|>"
CUT = f"a text alone is cut at lines of {END_OF_TEXT}, blank lines, line ends or ends of sentences"
# Long enough to hold a thought, short enough that a chapter's worth of text can be split into two parts at
# all.
_SMALLEST_DOCUMENT_CHARACTERS = 2000
# Of a text that is no longer than one of those.
_GATHERED_SHARE = 10
# Of a longer one a tenth is no smaller than such a document.
_SHORT_TEXT_CHARACTERS = _SMALLEST_DOCUMENT_CHARACTERS * _GATHERED_SHARE
_LONGEST_MARK_CHARACTERS = 100
_BLOCK = 1 << 16
_PARAGRAPHS, _LINES, _SENTENCES = PARTS

Lines = Iterable[str]


def cut(lines: Callable[[], Lines]) -> Iterator[tuple[str, str | None]]:
    r"""Cut a text into documents: two or more, if it can be cut at all.

    Args:
        lines: reads the text, by lines with ``"\n"`` at their ends; called twice.

    Yields:
        A document, and between which parts it was cut out (see :class:`~graftwork_text.corpora.Document`);
        None of what stood between lines of ``<|endoftext|>``.

    >>> text = ["One. Two.\n", "<|endoftext|>\n", "Three.\n"]
    >>> [document for document, _ in cut(lambda: text)]
    ['One. Two.\n', 'Three.\n']
    """
    between, smallest = _plan(lines())
    if between is None:
        yield from ((document, None) for document in marked(lines()))
    else:
        pieces = _pieces(lines(), between)
        yield from ((document, between) for document in _gathered(pieces, between, smallest))


def marked(lines: Lines) -> Iterator[str]:
    """What stands between lines of ``<|endoftext|>``, but for what is blank there; else the whole text."""
    gathered: list[str] = []
    found = False
    for line in lines:
        if not _is_mark(line):
            gathered.append(line)
            continue
        found = True
        text = "".join(gathered)
        gathered.clear()
        if text and not text.isspace():
            yield text
    text = "".join(gathered)
    gathered.clear()
    if not found or (text and not text.isspace()):
        yield text


def stands_between(text: str) -> str:
    r"""What stands between the parts of a document as its author wrote it: blank lines, else line ends.

    >>> stands_between("One.\nTwo.\n\nThree.\n"), stands_between("One.\nTwo.\n\n")
    ('\n\n', '\n')
    """
    return _PARAGRAPHS if PARTS[_PARAGRAPHS].search(text, *_inner(text)) else _LINES


def _inner(text: str) -> tuple[int, int]:
    """Where a text begins and ends without the white space around it, of which no copy is made."""
    start, end = 0, len(text)
    while start < end and text[start : start + _BLOCK].isspace():
        start += _BLOCK
    while start < end and text[max(start, end - _BLOCK) : end].isspace():
        end -= _BLOCK
    if start >= end:
        return 0, 0
    first, last = text[start : start + _BLOCK], text[max(start, end - _BLOCK) : end]
    return start + len(first) - len(first.lstrip()), end - len(last) + len(last.rstrip())


def _is_mark(line: str) -> bool:
    # No copy is made of a long line.
    return len(line) < _LONGEST_MARK_CHARACTERS and line.strip() == END_OF_TEXT


def _plan(lines: Lines) -> tuple[str | None, int]:
    """Between which parts a text is to be cut (None: at its marks), and how long a document is at least."""
    beginning: list[str] = []
    characters = 0
    sections, paragraphs, by_lines = _Sections(), _Paragraphs(), _Gathering()
    for line in lines:
        characters += len(line)
        if characters <= _SHORT_TEXT_CHARACTERS:
            beginning.append(line)
        sections.see(line)
        for part in _parted([line]):
            paragraphs.see(part)
            start, end = _inner(part)
            by_lines.see(end - start)
    if sections.count > 1:
        return None, 0
    if characters > _SHORT_TEXT_CHARACTERS:
        if paragraphs.documents() > 1:
            return _PARAGRAPHS, _SMALLEST_DOCUMENT_CHARACTERS
        return _LINES if by_lines.count > 1 else _SENTENCES, _SMALLEST_DOCUMENT_CHARACTERS
    for between in PARTS:
        for smallest in (_SMALLEST_DOCUMENT_CHARACTERS, characters // _GATHERED_SHARE):
            documents = _gathered(_pieces(beginning, between), between, smallest)
            if len(list(islice(documents, 2))) > 1:
                return between, smallest
    return _SENTENCES, _SMALLEST_DOCUMENT_CHARACTERS


class _Sections:
    """Counts what is not blank between marks."""

    def __init__(self) -> None:
        self.count = 0
        self._open = False

    def see(self, line: str) -> None:
        if _is_mark(line):
            self._open = False
        elif not self._open and not line.isspace():
            self._open = True
            self.count += 1


class _Gathering:
    """Counts the documents that pieces of some lengths make."""

    def __init__(self) -> None:
        self.count = 0
        self._characters = 0

    def see(self, length: int) -> None:
        if length and not self._characters:
            self.count += 1
        self._characters += length
        if self._characters >= _SMALLEST_DOCUMENT_CHARACTERS:
            self._characters = 0


class _Paragraphs:
    """The same of paragraphs, whose lengths are summed by their lines: one may be as long as the text."""

    def __init__(self) -> None:
        self._gathering = _Gathering()
        self._length = self._trailing = 0

    def see(self, line: str) -> None:
        start, length = _inner(line)
        if not length:
            self.documents()
        elif self._length:
            self._length += self._trailing + 1 + length
        else:
            self._length = length - start
        self._trailing = len(line) - length

    def documents(self) -> int:
        """How many there are up to the end of this paragraph."""
        self._gathering.see(self._length)
        self._length = 0
        return self._gathering.count


def _parted(lines: Lines) -> Iterator[str]:
    """Lines without their ends; an empty one in place of a mark, and of a form feed between two others."""
    for line in lines:
        if _is_mark(line):
            yield ""
            continue
        parts = line.removesuffix("\n").split("\f")[::-1]
        # Handed over and not kept, as either may be long.
        del line
        yield parts.pop()
        while parts:
            yield ""
            yield parts.pop()


def _pieces(lines: Lines, between: str) -> Iterator[str]:
    """The paragraphs, lines or sentences of a text."""
    if between == _PARAGRAPHS:
        return _paragraphs(_parted(lines))
    if between == _LINES:
        return _parted(lines)
    return _sentences("\n".join(_parted(lines)))


def _paragraphs(lines: Lines) -> Iterator[str]:
    gathered: list[str] = []
    for line in lines:
        if line and not line.isspace():
            gathered.append(line)
        elif gathered:
            yield "\n".join(gathered)
            gathered = []
    if gathered:
        yield "\n".join(gathered)


def _sentences(text: str) -> Iterator[str]:
    # None of the pieces has white space around it then, and no copies are made to rid them of it.
    text = text.strip()
    start = 0
    for end in PARTS[_SENTENCES].finditer(text):
        yield text[start : end.start()]
        start = end.end()
    yield text[start:]


def _gathered(pieces: Iterable[str], between: str, smallest: int) -> Iterator[str]:
    gathered: list[str] = []
    characters = 0
    for piece in pieces:
        if stripped := piece.strip():
            gathered.append(stripped)
            characters += len(stripped)
        if gathered and characters >= smallest:
            yield between.join(gathered)
            gathered, characters = [], 0
    if gathered:
        yield between.join(gathered)
