"""Files of a run directory, in which anybody may have put anything."""

from __future__ import annotations

from pathlib import Path

from graftwork import GraftworkError


def read_file(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        GraftworkError: it is something else: to open a pipe would wait for ever.
        OSError: it cannot be read.
    """
    if path.exists() and not path.is_file():
        raise GraftworkError(f"{path} is no file")
    return path.read_bytes()
