"""Taking a directory for a run: before anything slow is imported, and for as long as the training lives.

Rank 0 does it for all. Where it is refused rank 0 ends, and with it, by the launcher, the others. Imports no
torch.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from graftwork import GraftworkError
from graftwork_trainer.lock import RunLock
from graftwork_trainer.stage_folders import whole_run


@contextmanager
def claimed(directory: Path, *, resume: bool) -> Iterator[None]:
    """Hold the lock of a directory that was named.

    Raises:
        GraftworkError: another process trains in it, it holds a run already and is not to be resumed, or it
            is for a stage of one.
    """
    if _rank():
        yield
        return
    if (whole := whole_run(directory)) is not None:
        raise GraftworkError(
            f"run {directory}: is for a stage of {whole}, which is trained as a whole; go on with "
            f"`graftwork train --resume {whole}`, or name another directory with --out"
        )
    with RunLock(directory):
        if not resume:
            refuse_another_run(directory)
        yield


@contextmanager
def claimed_anew(name: str) -> Iterator[Path]:
    """Make a directory ``runs/NAME-TIME`` that is nobody's, and hold its lock; the same on every rank."""
    directory = new_directory(name)
    if not _rank():
        directory = _made(directory)
    directory = _agreed(directory)
    try:
        with claimed(directory, resume=False):
            yield directory
    finally:
        if not _rank():
            with suppress(OSError):  # unless nothing was written
                directory.rmdir()


def new_directory(name: str) -> Path:
    """``runs/NAME-TIME``, which sorts by time."""
    return Path("runs") / f"{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


def refuse_another_run(directory: Path) -> None:
    """Refuse to begin a run where there is one.

    Raises:
        GraftworkError: there is.
    """
    if (directory / "recipe.toml").exists():
        raise GraftworkError(
            f"run {directory}: holds a run already; continue it with `graftwork train --resume {directory}`, "
            "or name another directory with --out"
        )


def _made(directory: Path) -> Path:
    """A directory of this name; with a number behind it where another began in the same second."""
    name, number = directory.name, 1
    while True:
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            number += 1
            directory = directory.with_name(f"{name}-{number}")
        else:
            return directory


def _agreed(directory: Path) -> Path:
    """The directory that rank 0 chose: clocks differ between ranks."""
    import torch.distributed as dist

    if not dist.is_initialized():
        return directory
    chosen = [directory]
    dist.broadcast_object_list(chosen)
    return chosen[0]


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))
