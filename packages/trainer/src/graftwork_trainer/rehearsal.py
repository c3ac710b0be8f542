"""The first step of a training, taken in a folder that is then removed, to meet what would be in its way.

The trainer itself takes it: what refuses a training refuses its rehearsal in the same words. Nothing is left
of it, trackers are built and told nothing, and callbacks are built and not called.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from graftwork import Task
from graftwork.resolution import Resolved
from graftwork_trainer.assets import take_assets
from graftwork_trainer.callbacks import Callbacks, Moment
from graftwork_trainer.failure import told_failure
from graftwork_trainer.options import LoopOptions
from graftwork_trainer.run_directory import RunDirectory
from graftwork_trainer.trackers import built_trackers
from graftwork_trainer.untouched import process_as_before


class _Taken(BaseException):
    """The step has been taken; no callback's ``Exception``, which a training would tell of."""


class _Leave:
    def on_step(self, moment: Moment) -> None:
        raise _Taken


class _Rehearsed(RunDirectory):
    """Ends a trainer that has the loop's options and a loop of its own, which calls no callback."""

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        if step > 1:
            raise _Taken
        super().record(step, metrics)


def take_first_step(resolved: Resolved, task: Task) -> bool:
    """Take the first step of one training.

    Args:
        resolved: without stages.
        task: as it was built.

    Returns:
        Whether the trainer has the loop that can be left after it.

    Raises:
        GraftworkError: what the training would end with, before its first step or in it.
    """
    trainer: Any = resolved.trainer()
    if not isinstance(getattr(trainer, "loop", None), LoopOptions):
        return False
    with tempfile.TemporaryDirectory(prefix="graftwork-") as folder:
        run = _Rehearsed(Path(folder) / "run", resolved, {}, quiet=True)
        try:
            with told_failure(resolved, task, trainer, run.directory), process_as_before(), suppress(_Taken):
                _fit(trainer, task, resolved, run)
        finally:
            run.close()
    return True


def _fit(trainer: Any, task: Task, resolved: Resolved, run: RunDirectory) -> None:
    loop: LoopOptions = trainer.loop
    built_trackers(loop.trackers)
    Callbacks(loop.callbacks, (), run.directory, torch.device("cpu"))
    run.callbacks = [_Leave()]
    trainer.loop = replace(loop, trackers=(), callbacks=())
    take_assets(task, trainer, run)
    run.directory.mkdir(exist_ok=True)
    trainer.fit(task, resolved, run)
