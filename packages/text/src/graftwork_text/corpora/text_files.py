"""A user's own text: a file, or a folder of text files.

A folder holds one document per ``.txt`` or ``.md`` file, and one per line of its ``.jsonl`` files; subfolders
are read too. Of one ``.txt`` or ``.md`` file, paragraphs (separated by blank lines) are gathered into
documents; of one that is too short, or has no blank lines, shorter ones, lines or sentences. In a ``.jsonl``
file every line is an object whose ``text`` is a document.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from graftwork.errors import GraftworkError
from graftwork_text.corpora.corpus import Corpus, Document
from graftwork_trainer.folders import files_below
from graftwork_trainer.records import not_utf8, records

TEXT_SUFFIXES = (".txt", ".md")
LINES_SUFFIXES = (".jsonl",)
# Long enough to hold a thought, short enough that a chapter's worth of text can be split into two parts at
# all.
_SMALLEST_GATHERED_DOCUMENT_CHARACTERS = 2000
# Of a text that is no longer than one of those.
_GATHERED_SHARE = 10
_BLANK_LINES = re.compile(r"\n\s*\n")
# Where a text can be cut, and what stands there when its pieces are joined again.
_CUTS = ((_BLANK_LINES, "\n\n"), (re.compile(r"\n"), "\n"), (re.compile(r"(?<=[.!?])\s+"), " "))


def text_files(path: Path, *, name: str) -> Corpus:
    """Return the corpus of a file or folder.

    Args:
        path: an existing file or folder.
        name: what to call it in messages and records.

    Raises:
        GraftworkError: there is no text in it, or a file is of another kind.
    """
    accepted = (*TEXT_SUFFIXES, *LINES_SUFFIXES)
    if path.is_dir():
        files = [file for file in files_below(path) if file.suffix.lower() in accepted]
        if not files:
            raise GraftworkError(
                f"data {name!r}: no {', '.join(accepted)} file in this folder or below it (what begins with a "
                "dot is passed over)"
            )
    elif path.suffix.lower() in accepted:
        files = [path]
    else:
        raise GraftworkError(
            f"data {name!r}: a file must end in {', '.join(accepted)} (or give a folder of such files)"
        )
    try:
        sha256 = _digest(path, files)
    except OSError as error:
        raise GraftworkError(f"data {name!r}: cannot read {error.filename}: {error.strerror}") from error
    return Corpus(name, {"sha256": sha256, "reading": "1"}, partial(_documents, path, files))


def _documents(path: Path, files: list[Path]) -> Iterator[Document]:
    for file in files:
        place = file.relative_to(path).as_posix() if path.is_dir() else file.name
        if file.suffix.lower() in LINES_SUFFIXES:
            yield from _lines(file, place)
        elif len(files) > 1:
            yield Document(place, _text(file))
        else:
            for number, text in enumerate(_cut(_text(file))):
                yield Document(f"{place}#{number:06d}", text)


def _cut(text: str) -> list[str]:
    """Documents of one text: two or more, if it can be cut at all."""
    documents: list[str] = []
    for cut, joint in _CUTS:
        for characters in (_SMALLEST_GATHERED_DOCUMENT_CHARACTERS, len(text) // _GATHERED_SHARE):
            documents = list(_gathered(cut.split(text), joint, characters))
            if len(documents) > 1:
                return documents
    return documents


def _gathered(pieces: Iterable[str], joint: str, smallest: int) -> Iterator[str]:
    gathered: list[str] = []
    characters = 0
    for piece in pieces:
        if stripped := piece.strip():
            gathered.append(stripped)
            characters += len(stripped)
        if gathered and characters >= smallest:
            yield joint.join(gathered)
            gathered, characters = [], 0
    if gathered:
        yield joint.join(gathered)


def _lines(file: Path, place: str) -> Iterator[Document]:
    for number, row in records(file):
        if not isinstance(row.get("text"), str):
            raise GraftworkError(
                f"{file}, line {number}: expected an object with a string 'text'; its keys are "
                f"{', '.join(map(repr, row))}"
            )
        # JSON can spell half a character (a lone surrogate), which UTF-8 cannot.
        text = str(row["text"]).encode("utf-8", "replace").decode("utf-8")
        yield Document(f"{place}#{number:06d}", text)


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise not_utf8(file, error) from error


def _digest(path: Path, files: list[Path]) -> str:
    total = hashlib.sha256()
    for file in files:
        place = file.relative_to(path).as_posix() if path.is_dir() else file.name
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        total.update(f"{place}\0{content}\n".encode())
    return total.hexdigest()
