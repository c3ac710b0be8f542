"""Prose of the docstrings that every installation has: torch's and the standard library's.

Needs no download and no licence. The register is technical and its entropy low, so compare perplexities only
with others on the same versions (:attr:`Corpus.identity` records them). A document is one source file:
neighbouring docstrings repeat each other's phrases, so paragraphs of one file must not lie on both sides of a
split.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from graftwork_text.corpora.corpus import Corpus, Document
from graftwork_text.corpora.installed import STANDARD_LIBRARY, source_files, source_of, version_of

# Comments and strings in source order; a docstring is a triple-quoted string that begins its line. Parsing
# all of torch into syntax trees takes 50 s, this 1 s.
_LEXEME = re.compile(
    r'''\#[^\n]*
    | (?P<quotes>"""|\'\'\')(?P<text>(?:[^\\]|\\.)*?)(?P=quotes)
    | "(?:[^"\\\n]|\\.)*"
    | '(?:[^'\\\n]|\\.)*\'''',
    re.DOTALL | re.VERBOSE,
)
_BEFORE_DOCSTRING = re.compile(r"[ \t]*[rRuU]?")
_BLANK_LINES = re.compile(r"\n\s*\n")
_PLAIN_WORD = re.compile(r"[A-Za-z][a-z'\u2019-]*[,.;:!?)]?")
_FEWEST_WORDS = 8
_PLAIN_SHARE = 0.7


def installed_prose() -> Corpus:
    """Return the prose of the standard library and torch."""
    return prose_of_modules((STANDARD_LIBRARY, "torch"))


def prose_of_modules(modules: Sequence[str]) -> Corpus:
    """Return the corpus of docstring prose of some modules.

    Args:
        modules: importable packages or modules, none of which is imported; ``stdlib`` is the whole standard
            library.

    Raises:
        GraftworkError: a module is not installed or has no source files.
    """
    roots = {module: source_of(module) for module in modules}
    identity = {module: version_of(module) for module in modules}
    identity["extraction"] = "docstring paragraphs, 1"
    return Corpus("installed-prose", identity, partial(_documents, roots))


def _documents(roots: dict[str, Path]) -> Iterator[Document]:
    seen: set[str] = set()
    for module, root in roots.items():
        for file in source_files(root):
            paragraphs = [text for text in docstring_prose(file) if text not in seen]
            # What two files share word for word stays with the first, so no paragraph is on both sides of a
            # split.
            fresh = list(dict.fromkeys(paragraphs))
            seen.update(fresh)
            if fresh:
                place = file.name if file == root else file.relative_to(root).as_posix()
                yield Document(f"{module}/{place}", "\n\n".join(fresh))


def docstring_prose(file: Path) -> Iterator[str]:
    """Yield the paragraphs of a source file's docstrings that are sentences, each as one line.

    Args:
        file: Python source; one that cannot be read as UTF-8 has no prose.
    """
    try:
        source = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return
    if '"""' not in source and "'''" not in source:
        return
    for lexeme in _LEXEME.finditer(source):
        if lexeme["text"] is None:
            continue
        line_start = source.rfind("\n", 0, lexeme.start()) + 1
        if _BEFORE_DOCSTRING.fullmatch(source, line_start, lexeme.start()):
            for paragraph in _BLANK_LINES.split(lexeme["text"]):
                text = " ".join(paragraph.split())
                if _is_prose(text):
                    yield text


def _is_prose(text: str) -> bool:
    """Whether a paragraph is made of plain words and ends like a sentence: no code, no tables."""
    if not text or text[-1] not in ".!?:" or ">>>" in text or "::" in text or "\\" in text:
        return False
    words = text.split()
    if len(words) < _FEWEST_WORDS:
        return False
    return sum(map(bool, map(_PLAIN_WORD.fullmatch, words))) >= _PLAIN_SHARE * len(words)
