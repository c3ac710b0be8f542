"""Files of a run directory, in which anybody may have put anything, and those that users give as data."""

from __future__ import annotations

import os
from io import BufferedReader
from pathlib import Path

from graftwork import GraftworkError
from graftwork_trainer.causes import cause_of


def read_file(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        GraftworkError: it is something else: to open a pipe would wait for ever.
        OSError: it cannot be read.
    """
    if path.exists() and not path.is_file():
        raise GraftworkError(f"{path} is no file")
    return path.read_bytes()


def read_given(path: Path) -> bytes:
    """The bytes of a file that somebody gave.

    Raises:
        GraftworkError: it is missing, something else, or cannot be read.
    """
    check_given(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise not_readable(path, error) from error


def open_given(path: Path) -> BufferedReader:
    """A file that somebody gave, to be read as bytes; see :func:`not_readable` for what fails later.

    Raises:
        GraftworkError: it is missing, something else, or cannot be opened.
    """
    check_given(path)
    try:
        return path.open("rb")
    except OSError as error:
        raise not_readable(path, error) from error


def check_given(path: Path) -> None:
    """Refuse what is no file before it is opened: to open a pipe would wait for ever.

    Raises:
        GraftworkError: it is missing, or something else.
    """
    try:
        path.stat()
    except OSError as error:
        if os.path.islink(path):  # noqa: PTH114 - which says no of a name that is too long
            raise GraftworkError(broken_link(path)) from None
        raise not_readable(path, error) from error
    if not path.is_file():
        told = "a folder" if path.is_dir() else "no file"
        raise GraftworkError(f"{path} is {told}, and a file is needed in its place")


def not_readable(path: Path, error: OSError) -> GraftworkError:
    """What to say where the system refuses to read a file; its own errors on reading name none."""
    if isinstance(error, FileNotFoundError):
        return GraftworkError(f"{path}: there is no such file")
    return GraftworkError(f"{path}: cannot be read: {cause_of(error).removeprefix(f'{error.filename}: ')}")


def broken_link(path: Path) -> str:
    """What to say of a link that leads nowhere."""
    return f"{path}: a link to {path.readlink()}, which leads nowhere; mend or remove it"
