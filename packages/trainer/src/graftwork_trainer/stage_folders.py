"""Where the stages of a run lie, ``RUN/stages/1-general``, and how they ended. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from graftwork import GraftworkError
from graftwork.recipe_file import read_toml
from graftwork_trainer.plain_json import read_json

STAGES = "stages"


def stage_folders(run: Path, names: Sequence[str]) -> list[Path]:
    """The run directory of each stage.

    >>> [folder.as_posix() for folder in stage_folders(Path("run"), ["general", "2"])]
    ['run/stages/1-general', 'run/stages/2']
    """
    numbers = map(str, range(1, len(names) + 1))
    return [
        run / STAGES / (name if name == number else f"{number}-{name}")
        for number, name in zip(numbers, names, strict=True)
    ]


def stage_names(recipe: Mapping[str, Any]) -> list[str]:
    """The stages of a resolved recipe, in order; none where it is of one training."""
    stages = recipe.get(STAGES)
    if not isinstance(stages, list) or not all(isinstance(stage, Mapping) for stage in stages):
        return []
    return [str(stage.get("name", number)) for number, stage in enumerate(stages, start=1)]


def stage_names_in(run: Path) -> list[str]:
    """The stages of a run, in order; none where it is one training, or where its recipe cannot be read."""
    try:
        return stage_names(read_toml(run / "recipe.toml"))
    except GraftworkError:
        return []


def whole_run(directory: Path) -> Path | None:
    """The run that a directory is for a stage of; None where it is for none."""
    stages = directory.absolute().parent
    return directory.parent.parent if stages.name == STAGES and stage_names_in(stages.parent) else None


def result_of(folder: Path) -> dict[str, Any]:
    """What a stage wrote at its end; nothing where it did not, or where that is damaged and written anew."""
    with suppress(GraftworkError, OSError):
        result = read_json(folder / "result.json")
        if isinstance(result, dict):
            return result
    return {}
