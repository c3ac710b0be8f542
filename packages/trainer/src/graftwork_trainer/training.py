"""The trainings of a resolved recipe, from the process group to what they leave."""

from __future__ import annotations

import gc
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from graftwork import GraftworkError, Interrupted
from graftwork.resolution import Resolved
from graftwork_trainer.assets import take_assets
from graftwork_trainer.claim import claimed_anew
from graftwork_trainer.environment import describe_environment
from graftwork_trainer.failure import recorded_failure
from graftwork_trainer.option_mistakes import refusals_told_together
from graftwork_trainer.options import LoopOptions
from graftwork_trainer.own_code import differences, environment_of
from graftwork_trainer.parallel import launched_by_torchrun, process_group
from graftwork_trainer.progress import tell
from graftwork_trainer.roll_call import RollCall, lost_ranks_named
from graftwork_trainer.run_directory import RunDirectory
from graftwork_trainer.stages import StagedRun, refuse_absent_starts, refuse_other_stages
from graftwork_trainer.untouched import process_as_before
from graftwork_trainer.waiting import doing


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training leaves.

    Args:
        run: its directory.
        model: as trained, in evaluation mode, on the device that it was trained on; None where a trainer of
            somebody else's returns none.
        metrics: of the evaluation that the run's result stands for, named ``validation/...``; of the last
            stage where there are several.
    """

    run: Path
    model: nn.Module | None
    metrics: Mapping[str, float]


def train_resolved(
    resolved: Resolved,
    directory: Path | None,
    *,
    resume: bool,
    quiet: bool,
    allow: Collection[str] = (),
    callbacks: Sequence[Any] = (),
) -> Trained:
    """Train a resolved recipe under the process group that torchrun describes, if any.

    Args:
        resolved: checked.
        directory: of the run, which the caller has claimed; None for a new one named after the recipe and the
            time.
        resume: go on from the directory's newest checkpoint.
        quiet: no progress bar.
        allow: what may be another than in that checkpoint.
        callbacks: objects, see :mod:`graftwork_trainer.callbacks`.
    """
    with refusals_told_together(resolved):
        return _train(resolved, directory, resume=resume, quiet=quiet, allow=allow, callbacks=callbacks)


def _train(
    resolved: Resolved,
    directory: Path | None,
    *,
    resume: bool,
    quiet: bool,
    allow: Collection[str],
    callbacks: Sequence[Any],
) -> Trained:
    trainings = resolved.stages or (resolved,)
    trainers = [one.trainer() for one in trainings]
    connects_itself = _connects_itself(trainings, trainers)
    if connects_itself and directory is None:
        raise GraftworkError(
            "--out DIR is missing: processes that are to go on without each other cannot agree on a directory"
        )
    limit = max(map(_timeout_seconds, trainers))
    settings: dict[str, Any] = {
        "resume": resume,
        "allow": allow,
        "rank": int(os.environ.get("RANK", "0")),
        "quiet": quiet,
    }
    with (
        nullcontext() if connects_itself else process_group(limit) as roll_call,
        nullcontext(directory) if directory else claimed_anew(resolved.name) as chosen,
    ):
        if resume and not settings["rank"]:
            for difference in differences(environment_of(chosen)):
                tell(f"{chosen.name}: {difference}")
        if resume:
            refuse_other_stages(chosen, resolved)
        else:
            refuse_absent_starts(chosen, resolved.stages)
        # All of them before the first is trained: what is wrong with an option is found now.
        with doing("reading the data"):
            tasks = [one.task() for one in trainings]
        if resolved.stages:
            whole = StagedRun(chosen, resolved, describe_environment(), **settings)
            return _train_stages(whole, resolved, trainers, tasks, roll_call, callbacks)
        run = RunDirectory(chosen, resolved, describe_environment(), **settings)
        return _fitted(trainers[0], tasks[0], resolved, run, roll_call, callbacks)


def _train_stages(
    whole: StagedRun,
    resolved: Resolved,
    trainers: Sequence[Any],
    tasks: list[Any],
    roll_call: RollCall | None,
    callbacks: Sequence[Any],
) -> Trained:
    """Train what is left of several stages."""
    trained = Trained(whole.directory, None, {})
    for index, run in whole.unfinished():
        if trained.model is not None:
            # It has been saved, and a DDP wrapper in a reference cycle keeps it.
            trained = Trained(whole.directory, None, {})
            gc.collect()
        stage, task, tasks[index] = resolved.stages[index], tasks[index], None
        # What a stage sets for its process (deterministic algorithms) is not for the next, which may begin in
        # another.
        with whole.recorded(stage.name), process_as_before():
            trained = _fitted(trainers[index], task, stage, run, roll_call, callbacks)
        if run.asked_to_stop and stage is not resolved.stages[-1]:
            whole.finish("interrupted", f"stopped after stage {stage.name!r}")
            raise Interrupted(
                f"stopped after stage {stage.name!r}; continue with `graftwork train --resume {run.root}`",
                run.asked_to_stop,
            )
    whole.finish()
    return trained


def _fitted(
    trainer: Any,
    task: Any,
    recipe: Resolved,
    run: RunDirectory,
    roll_call: RollCall | None,
    callbacks: Sequence[Any],
) -> Trained:
    """Train in a run directory, and note there why it failed."""
    run.callbacks = callbacks
    go_on = f"; look at its output, and go on with `graftwork train --resume {run.root}`"
    with recorded_failure(run, recipe, task, trainer), lost_ranks_named(roll_call, go_on):
        take_assets(task, trainer, run)
        with doing("preparing data and model"):
            model = trainer.fit(task, recipe, run)
    if not isinstance(model, nn.Module):
        return Trained(run.root, None, run.metrics)
    model.zero_grad()  # of the last step, which whoever trains it further would add to
    return Trained(run.root, model.eval(), run.metrics)


def _connects_itself(trainings: Sequence[Resolved], trainers: Sequence[Any]) -> bool:
    """Whether processes find each other by themselves, rather than in one group for all stages.

    Raises:
        GraftworkError: those of one of several stages do.
    """
    apart = [
        one.name
        for one, trainer in zip(trainings, trainers, strict=True)
        if getattr(trainer, "connects_itself", False)
    ]
    if apart and len(trainings) > 1 and launched_by_torchrun():
        raise GraftworkError(
            f"stage {apart[0]!r}: its processes are to go on without each other, and all of them are needed "
            "for the stages after it; train it as a run of its own, and the others with trainer.start_from"
        )
    return bool(apart)


def _timeout_seconds(trainer: Any) -> float:
    """How long an exchange may take. A trainer of somebody else's may have options of its own."""
    return float(getattr(getattr(trainer, "loop", None), "timeout_seconds", LoopOptions.timeout_seconds))
