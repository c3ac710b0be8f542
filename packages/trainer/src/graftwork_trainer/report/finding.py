"""The runs that folders hold: a run is one, a comparison or any other folder holds some below it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from graftwork import GraftworkError
from graftwork_trainer.report.read import RUN_FILES, RunRecord, read_run


def read_runs(places: Iterable[Path]) -> list[RunRecord]:
    """Read runs, and all runs of folders that are none; those of one folder in the order that they began in.

    Raises:
        GraftworkError: a place is no run and holds none, or a run's file is damaged.
    """
    return [run for place in places for run in _runs_of(Path(place))]


def _runs_of(place: Path) -> list[RunRecord]:
    if not place.is_dir() or _is_run(place):
        return [read_run(place)]
    found = [read_run(folder) for folder in _folders_of_runs(place)]
    if not found:
        wanted = " and ".join(RUN_FILES)
        raise GraftworkError(
            f"{place} is neither a run, which has {wanted}, nor a folder with runs in it, and links are "
            "not followed"
        )
    return sorted(found, key=lambda run: (str(run.environment.get("started", "")), str(run.path)))


def _folders_of_runs(folder: Path) -> Iterator[Path]:
    """Runs below a folder, however deep; what a run itself holds, its stages for instance, is the run's.

    Links are not followed: they may lead round in a circle. Hidden folders are passed over.

    Raises:
        GraftworkError: a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise GraftworkError(f"{error.filename}: cannot be read: {error.strerror}") from error

    for path, names, _ in os.walk(folder, onerror=refuse):
        names[:] = sorted(name for name in names if not name.startswith("."))
        if _is_run(Path(path)) or _was_run(Path(path)):
            names.clear()
            yield Path(path)


def _was_run(folder: Path) -> bool:
    """Whether it has a recipe and figures, so that to pass it over would leave out a run unsaid."""
    figures = any((folder / name).is_file() for name in ("metrics.jsonl", "result.json"))
    return figures and (folder / "recipe.toml").is_file()


def _is_run(folder: Path) -> bool:
    return all((folder / name).is_file() for name in RUN_FILES)
