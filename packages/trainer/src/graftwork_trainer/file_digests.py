"""Digests of files, kept: a file that stays as it is is read once, and not again at every start.

Beside each digest stands what the file was like when it was taken: device, inode, size, and the times of the
last change of content and of the file itself. Any doubt, and it is taken anew: another value of any of these,
a file that had changed within the two seconds before (a clock may be too coarse to tell what follows), one
that changed while it was read, a book that is not as it was written (it has a digest of its own). Where
the cache cannot be written nothing is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from graftwork.realdata import cache_directory
from graftwork_trainer.files import not_readable, open_given

_RESTED_NANOSECONDS = 2_000_000_000
# Of a file: its digest, and what the file was like.
_Book = dict[str, tuple[str, list[int]]]


def digests_of(files: Iterable[Path], *, book: Path) -> list[str]:
    """SHA-256 of each file's content, in lower-case hexadecimal digits.

    Args:
        files: existing ones.
        book: what they belong to (a folder, or the file itself): its digests are kept together, and those of
            files that are not among these are forgotten.

    Raises:
        GraftworkError: one of them is missing, no file (but a pipe for instance), or cannot be read.
    """
    page = _page(book)
    known, kept = _read(page), {}
    digests = []
    for file in files:
        name = os.path.abspath(file)  # noqa: PTH100 - of strings: quicker, and links stay as they are
        try:
            before, now = _likeness(file), time.time_ns()
            digest, then = known.get(name, ("", []))
            if then != before:
                with open_given(file) as stream:
                    digest = hashlib.file_digest(stream, "sha256").hexdigest()
            rested = now - max(before[-2:]) > _RESTED_NANOSECONDS
            if then == before or (rested and _likeness(file) == before):
                kept[name] = (digest, before)
        except OSError as error:
            raise not_readable(file, error) from error
        digests.append(digest)
    if kept != known:
        _write(page, kept)
    return digests


def forget_digests(book: Path) -> None:
    """Take the digests of a folder or file anew next time.

    Args:
        book: as it was given to :func:`digests_of`.
    """
    with suppress(OSError):
        _page(book).unlink(missing_ok=True)


def _page(book: Path) -> Path:
    name = hashlib.sha256(os.fsencode(os.path.abspath(book))).hexdigest()  # noqa: PTH100
    return cache_directory("digests", f"{name[:32]}.json")


def _likeness(file: Path) -> list[int]:
    status = file.stat()
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _read(page: Path) -> _Book:
    try:
        seal, _, content = page.read_text("utf-8").partition("\n")
        if seal != _seal(content):
            return {}
        written = json.loads(content)
        return {str(name): (str(digest), list(likeness)) for name, (digest, likeness) in written.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _seal(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def _write(page: Path, book: _Book) -> None:
    """Replace the page by one rename, so that another process reads all of it or the one before."""
    with suppress(OSError):
        page.parent.mkdir(parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=page.parent, prefix=".partial-")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                content = json.dumps(book)
                stream.write(f"{_seal(content)}\n{content}")
            Path(draft).replace(page)
        finally:
            Path(draft).unlink(missing_ok=True)
