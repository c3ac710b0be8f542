"""The files below a folder of a user's data: all that were put there, or a sentence on one that cannot be."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from graftwork import GraftworkError

# Device and inode: what makes a folder the same one, by whichever name.
_Identity = tuple[int, int]


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
    try:
        return path.stat()
    except OSError as error:
        if not path.is_symlink():
            raise GraftworkError(f"{path} cannot be read: {error.strerror}") from error
        leads = "in a circle" if error.errno == errno.ELOOP else f"to {path.readlink()}"
        raise GraftworkError(
            f"{path}: a link that leads {leads}, and cannot be read: {error.strerror}; mend or remove it"
        ) from error


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino
