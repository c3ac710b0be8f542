"""Whether a run could go on by a recipe, found out without training: what a dry run of ``--resume`` tells."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from graftwork import Task
from graftwork.resolution import Resolved
from graftwork_trainer.assets import trained_task
from graftwork_trainer.checkpoint import Checkpoints
from graftwork_trainer.history import read_history
from graftwork_trainer.plain_json import read_json
from graftwork_trainer.resuming import Identity, identity_in, refuse_unless_allowed
from graftwork_trainer.stage_folders import result_of, stage_folders
from graftwork_trainer.stages import refuse_another_recipe
from graftwork_trainer.status import COMPLETE_STATUSES
from graftwork_trainer.task_members import facts_of


def folder_of(stage: Resolved, resolved: Resolved, directory: Path) -> Path:
    """The run directory of one training of a recipe, which is a stage of it or all of it.

    Raises:
        GraftworkError: it is a stage that has ended, and was trained by another recipe.
    """
    if not resolved.stages:
        return directory
    place = resolved.stages.index(stage)
    folder = stage_folders(directory, [one.name for one in resolved.stages])[place]
    if stage is not resolved.stages[-1] and result_of(folder).get("status") in COMPLETE_STATUSES:
        refuse_another_recipe(folder, stage)
    return folder


def has_begun(folder: Path) -> bool:
    """Whether a training has a checkpoint to go on from; the first step of any other is yet to be taken."""
    return bool(Checkpoints(folder / "checkpoints").steps())


def task_that_goes_on(recipe: Resolved, folder: Path) -> Task:
    """Build a recipe's task with what its training began with, wherever that came from."""
    environment = read_json(folder / "environment.json")
    return trained_task(recipe, folder, environment if isinstance(environment, dict) else {})


def resumption_of(recipe: Resolved, task: Task, folder: Path, allow: Collection[str]) -> Iterator[str]:
    """Tell from where a training would go on, and what is another than it was.

    Args:
        recipe: of the training, without stages.
        task: as it goes on.
        folder: of the training.
        allow: what may be another, see :mod:`graftwork_trainer.resuming`.

    Raises:
        GraftworkError: it would be refused: its newest checkpoint is damaged, or something is another that
            was not allowed.
    """
    checkpoint = Checkpoints(folder / "checkpoints").newest()
    if checkpoint is None:
        return
    now = Identity(recipe.sections, facts_of(task).get("data", {}), checkpoint.processes)
    changes = identity_in(checkpoint).changes_to(now)
    refuse_unless_allowed(changes, allow, read_history(folder), checkpoint.step, folder)
    yield f"goes on from     step {checkpoint.step}"
    for change in changes:
        yield f"changed          {change}"
