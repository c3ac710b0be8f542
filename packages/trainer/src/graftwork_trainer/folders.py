"""Paths that users give, and the files below their folders: all, or a sentence on one that cannot be read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from graftwork import GraftworkError
from graftwork_trainer.files import broken_link

# Device and inode: what makes a folder the same one, by whichever name.
_Identity = tuple[int, int]


def given_path(text: str, option: str) -> Path:
    """The path that somebody wrote; whether something is there is another question.

    Args:
        text: as it was written; ``~`` is their home.
        option: that it was written for, for messages.

    Raises:
        GraftworkError: no file can be there, or none can be reached: a link that leads nowhere, a folder that
            must not be entered, a name that is too long.
    """
    try:
        path = Path(text).expanduser()
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise GraftworkError(f"{option} {broken_link(path)}") from None
    except (OSError, RuntimeError, ValueError) as error:
        told = error.strerror if isinstance(error, OSError) else error
        raise GraftworkError(f"{option} {text!r:.200} cannot be read: {told}") from error
    return path


def files_below(folder: Path) -> list[Path]:
    """Files in a folder and in all folders below it, ordered by their names from the folder on.

    What begins with a dot is passed over, with all that is below it: copies that editors, notebooks and
    systems keep beside the files that people put there (``.ipynb_checkpoints``, ``._notes.txt``). Links are
    followed.

    Args:
        folder: an existing one; its own name may begin with a dot.

    Raises:
        GraftworkError: a folder cannot be read, or a link leads nowhere or back to where it came from.
    """
    found: list[Path] = []
    waiting: list[tuple[Path, tuple[_Identity, ...]]] = [(folder, (_identity(_status(folder)),))]
    while waiting:
        here, above = waiting.pop()
        for path in _listed(here):
            status = _status(path)
            if stat.S_ISREG(status.st_mode):
                found.append(path)
            elif stat.S_ISDIR(status.st_mode):
                if _identity(status) in above:
                    raise GraftworkError(
                        f"{path}: a link that leads back to a folder above it, so that reading would never "
                        "end; remove it"
                    )
                waiting.append((path, (*above, _identity(status))))
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _listed(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise GraftworkError(f"folder {folder} cannot be read: {error.strerror}") from error


def _status(path: Path) -> os.stat_result:
    """Of what a link leads to."""
    try:
        return path.stat()
    except OSError as error:
        told = broken_link(path) if path.is_symlink() else f"{path} cannot be read: {error.strerror}"
        raise GraftworkError(told) from error


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino
