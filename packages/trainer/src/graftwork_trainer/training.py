"""One training of a resolved recipe, from the process group to what it leaves."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from graftwork import GraftworkError
from graftwork.resolution import Resolved
from graftwork_trainer.claim import claimed_anew
from graftwork_trainer.environment import describe_environment
from graftwork_trainer.failure import recorded_failure
from graftwork_trainer.options import LoopOptions
from graftwork_trainer.parallel import process_group
from graftwork_trainer.roll_call import lost_ranks_named
from graftwork_trainer.run_directory import RunDirectory


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training leaves.

    Args:
        run: its directory.
        model: as trained, in this process; None where a trainer of somebody else's returns none.
        metrics: of the evaluation that the run's result stands for, named ``validation/...``.
    """

    run: Path
    model: nn.Module | None
    metrics: Mapping[str, float]


def train_resolved(
    resolved: Resolved, directory: Path | None, *, resume: bool, quiet: bool, allow: Collection[str] = ()
) -> Trained:
    """Train a resolved recipe under the process group that torchrun describes, if any.

    Args:
        resolved: checked.
        directory: of the run, which the caller has claimed; None for a new one named after the recipe and the
            time.
        resume: go on from the directory's newest checkpoint.
        quiet: no progress bar.
        allow: what may be another than in that checkpoint.
    """
    trainer = resolved.trainer()
    connects_itself = getattr(trainer, "connects_itself", False)
    if connects_itself and directory is None:
        raise GraftworkError(
            "--out DIR is missing: processes that are to go on without each other cannot agree on a directory"
        )
    # A trainer of somebody else's may have options of its own.
    limit = getattr(getattr(trainer, "loop", None), "timeout_seconds", LoopOptions.timeout_seconds)
    rank = int(os.environ.get("RANK", "0"))
    with (
        nullcontext() if connects_itself else process_group(limit) as roll_call,
        nullcontext(directory) if directory else claimed_anew(resolved.name) as chosen,
    ):
        task = resolved.task()
        run = RunDirectory(
            chosen, resolved, describe_environment(), resume=resume, allow=allow, rank=rank, quiet=quiet
        )
        go_on = f"; look at its output, and go on with `graftwork train --resume {chosen}`"
        with recorded_failure(run, task), lost_ranks_named(roll_call, go_on):
            model = trainer.fit(task, resolved, run)
    return Trained(chosen, model, run.metrics)


def train(
    recipe: Resolved,
    directory: Path | None = None,
    *,
    resume: bool = False,
    quiet: bool = False,
    allow: Collection[str] = (),
) -> Trained:
    """Train a recipe; see :func:`train_resolved`."""
    return train_resolved(recipe, directory, resume=resume, quiet=quiet, allow=allow)
