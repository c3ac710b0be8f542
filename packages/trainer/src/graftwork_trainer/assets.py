"""What a model is used with beside its weights (a tokenizer, label names): ``RUN/model/``.

A task that has ``save_assets(folder)`` writes them there once, when its training begins; one that has
``load_assets(folder)`` is given those of what ``trainer.start_from`` names before anything else is asked of
it, so that it can take over what makes the weights mean the same. A run that goes on takes its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graftwork import GraftworkError, Task
from graftwork.resolution import Resolved
from graftwork_trainer.causes import cause_of
from graftwork_trainer.model_folder.keeping import keep_assets
from graftwork_trainer.model_folder.manifest import model_folder
from graftwork_trainer.run_directory import RunDirectory
from graftwork_trainer.weights.places import find_place


def task_of(resolved: Resolved) -> Task:
    """Build a recipe's task as it would be trained now.

    Raises:
        GraftworkError: there is nothing where ``trainer.start_from`` says.
    """
    task: Task = resolved.task()
    start_from = start_of(resolved)
    load_assets(task, None if start_from is None else find_place(start_from).assets)
    return task


def trained_task(resolved: Resolved, run: Path, environment: Mapping[str, Any]) -> Task:
    """Build a recipe's task as it was trained in a run.

    Args:
        resolved: the run's recipe.
        run: its directory.
        environment: what it noted, whether it started from other weights among it.
    """
    task: Task = resolved.task()
    load_assets(task, model_folder(run) if "start" in environment else None)
    return task


def take_assets(task: Task, trainer: Any, run: RunDirectory) -> None:
    """Give a task the assets of what it starts from, and keep its own with the run, before it is trained.

    Args:
        task: of the training.
        trainer: whose ``loop`` says what it starts from.
        run: of the training.

    Raises:
        GraftworkError: there is nothing where ``trainer.start_from`` says, the trainer knows of no other
            weights, or the assets cannot be written.
    """
    loop = getattr(trainer, "loop", None)
    if run.start_from is not None and not hasattr(loop, "start_from"):
        raise GraftworkError(
            f"{type(trainer).__name__} cannot start from the weights of the stage before: it has no option "
            "start_from; let it train in the first stage, or in a run of its own"
        )
    start_from = getattr(loop, "start_from", None) or run.start_from
    if start_from is not None:
        load_assets(task, model_folder(run.directory) if run.goes_on() else find_place(start_from).assets)
    if run.main:
        _save(task, run)


def start_of(resolved: Resolved) -> str | None:
    """What a recipe says that training starts from."""
    start_from = resolved.trainer.options.get("start_from")
    return start_from if isinstance(start_from, str) else None


def load_assets(task: Task, folder: Path | None) -> None:
    """Give a task the assets in a folder, where it takes any and it is there."""
    if folder is not None and folder.is_dir() and hasattr(task, "load_assets"):
        task.load_assets(folder)


def _save(task: Task, run: RunDirectory) -> None:
    folder = model_folder(run.directory)
    if not hasattr(task, "save_assets") or (run.resume and folder.is_dir()):
        return
    try:
        keep_assets(run.directory, task.save_assets)
    except OSError as error:
        raise GraftworkError(
            f"{folder} cannot be written, and the model could not be used without it: {cause_of(error)}"
        ) from error
