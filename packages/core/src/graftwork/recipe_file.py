"""Reading a file of TOML that a user names: a recipe, or what a run keeps of one."""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graftwork.errors import GraftworkError

# Of people's making none comes near it, and what is larger was named by mistake.
_MOST_BYTES = 2**20
_MOST_LEVELS = 32


def read_text(path: Path, what: str = "recipe") -> str:
    """What a file holds, without a byte-order mark.

    Args:
        path: of the file.
        what: it is, for messages.

    Raises:
        GraftworkError: it is no regular file, too large, cannot be read, or is no UTF-8 text.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            sort = "folder" if stat.S_ISDIR(status.st_mode) else "pipe or device"
            raise GraftworkError(f"{what} {path}: is a {sort}; name a .toml file")
        if status.st_size > _MOST_BYTES:
            raise GraftworkError(
                f"{what} {path}: has {status.st_size:,} bytes, and no {what} has more than {_MOST_BYTES:,}; "
                "name a .toml file"
            )
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        absent = f"leads to {path.readlink()}, which is not there" if path.is_symlink() else "no such file"
        raise GraftworkError(f"{what} {path}: {absent}") from error
    except OSError as error:
        raise GraftworkError(f"{what} {path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise GraftworkError(
            f"{what} {path}: is not UTF-8 text: {error.reason} at byte {error.start}"
        ) from error
    except ValueError as error:  # of a path that no system has
        raise GraftworkError(f"{what} {str(path)!r}: no such file") from error


def read_toml(path: Path, what: str = "recipe") -> dict[str, Any]:
    """The document of a file, see :func:`read_text`.

    Raises:
        GraftworkError: it cannot be read, or is no TOML; the message says where.
    """
    text = read_text(path, what)
    try:
        document = tomllib.loads(text)
    except RecursionError:
        raise GraftworkError(f"{what} {path}: {_TOO_DEEP}") from None
    except ValueError as error:  # TOMLDecodeError, and of numbers of thousands of digits
        raise GraftworkError(f"{what} {path}: is not TOML: {error}") from error
    refuse_depth(document, f"{what} {path}")
    return document


_TOO_DEEP = f"tables or lists lie in one another more than {_MOST_LEVELS} deep, and no option needs that"


def refuse_depth(value: Any, where: str) -> None:
    """Refuse what nothing that walks through it could walk through.

    Raises:
        GraftworkError: it is nested too deeply.
    """
    level = [value]
    for _ in range(_MOST_LEVELS + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, (Mapping, list, tuple))
            for inner in (outer.values() if isinstance(outer, Mapping) else outer)
        ]
    if level:
        raise GraftworkError(f"{where}: {_TOO_DEEP}")
