"""A user's own text: a file, or a folder of text files.

A folder holds one document per ``.txt`` or ``.md`` file, more where lines of ``<|endoftext|>`` separate them,
and one per line of its ``.jsonl`` files, each an object whose ``text`` is a document; subfolders are read
too. One ``.txt`` or ``.md`` file alone is cut into documents
(:mod:`~graftwork_text.corpora.cutting`). Files are UTF-8, with or without byte order marks (files that were
put together have some within), with any line ends.

Text is read as a stream, a document at a time, and what was read is compared with the digest by which the
corpus is known: a file that changes meanwhile is refused, and no cache keeps it under the old digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, islice, starmap
from pathlib import Path

from graftwork.errors import GraftworkError, did_you_mean
from graftwork_text.corpora.corpus import Corpus, Document
from graftwork_text.corpora.cutting import CUT, cut, marked, stands_between
from graftwork_trainer.file_digests import digests_of
from graftwork_trainer.folders import files_below
from graftwork_trainer.known_file import KnownFile
from graftwork_trainer.records.json_lines import json_rows
from graftwork_trainer.records.lines import decoded, numbered_lines

TEXT_SUFFIXES = (".txt", ".md")
LINES_SUFFIXES = (".jsonl",)
_CUT_IN_FOLDERS = "a .txt or .md file is one document, and so is each line of a .jsonl file"


def text_files(path: Path, *, name: str) -> Corpus:
    """Return the corpus of a file or folder.

    Args:
        path: an existing file or folder.
        name: what to call it in messages and records.

    Raises:
        GraftworkError: there is no text in it, a file is of another kind, or cannot be read.
    """
    accepted = (*TEXT_SUFFIXES, *LINES_SUFFIXES)
    if path.is_dir():
        files = [file for file in files_below(path) if file.suffix.lower() in accepted]
        if not files:
            raise GraftworkError(
                f"data {name!r}: no {', '.join(accepted)} file in this folder or below it (what begins with "
                "a dot is passed over)"
            )
    elif path.suffix.lower() in accepted:
        files = [path]
    else:
        raise GraftworkError(
            f"data {name!r}: a file must end in {', '.join(accepted)} (or give a folder of such files)"
        )
    digests = digests_of(files, book=path)
    known = [_TextFile(file, digest, path) for file, digest in zip(files, digests, strict=True)]
    alone = len(files) == 1 and not known[0].holds_rows
    return Corpus(
        name,
        {"sha256": _digest(known), "reading": "2"},
        partial(_documents, known),
        CUT if alone else _CUT_IN_FOLDERS,
    )


class _TextFile(KnownFile):
    """A file of a corpus; its book is the file or folder that the corpus is."""

    @property
    def place(self) -> str:
        """Its name in the corpus; bytes of it that are not UTF-8 are written ``\\xe9``."""
        place = self.path.name if self.path == self.book else self.path.relative_to(self.book).as_posix()
        return place.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

    @property
    def holds_rows(self) -> bool:
        return self.path.suffix.lower() in LINES_SUFFIXES

    def lines(self) -> Iterator[str]:
        """Lines of text, with a newline where there is any line end."""
        # Nothing here keeps a line that was handed over, which may be long.
        return starmap(self._line, self.read(numbered_lines))

    def _line(self, number: int, line: bytes) -> str:
        # Bytes, since of a line with a single emoji the text takes four times as much memory as they do.
        if line.endswith((b"\r\n", b"\r")):
            line = line.rstrip(b"\r\n") + b"\n"
        return decoded(line, f"{self.path}, line {number}").removeprefix("\ufeff")

    def texts(self) -> Iterator[tuple[int, str]]:
        """The text of each object, with the number of its line."""
        for number, row in self.read(json_rows):
            text = row.get("text")
            if isinstance(text, str):
                yield number, text
                continue
            if "text" in row:
                found = f"is {json.dumps(text):.40}, and must be a string"
            elif row:
                found = (
                    f"is missing{did_you_mean('text', list(row))}; its keys are {', '.join(map(repr, row))}"
                )
            else:
                found = "is missing; it has no keys"
            raise GraftworkError(f"{self.path}, line {number}: 'text' {found}")


def _documents(files: Sequence[_TextFile]) -> Iterator[Document]:
    for file in files:
        if file.holds_rows:
            for number, text in file.texts():
                yield _as_written(f"{file.place}#{number:06d}", text)
        elif len(files) == 1:
            for number, (text, between) in enumerate(cut(file.lines)):
                name = f"{file.place}#{number:06d}"
                yield Document(name, text, between, cut=True) if between else _as_written(name, text)
        else:
            yield from _numbered(file.place, marked(file.lines()))


def _numbered(place: str, texts: Iterator[str]) -> Iterator[Document]:
    """Documents of a file, which alone has its name and of several has a number."""
    first = list(islice(texts, 2))
    if len(first) == 1:
        yield _as_written(place, first[0])
        return
    for number, text in enumerate(chain(first, texts)):
        yield _as_written(f"{place}#{number:06d}", text)


def _as_written(identifier: str, text: str) -> Document:
    return Document(identifier, text, stands_between(text))


def _digest(files: Sequence[_TextFile]) -> str:
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.place}\0{file.sha256}\n".encode())
    return total.hexdigest()
