"""How long a training is: in steps, or in epochs of its data, which make steps of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import torch

from graftwork import GraftworkError, Task
from graftwork_trainer.checkpoint.ranks import rank_and_size
from graftwork_trainer.data.opening import open_stream
from graftwork_trainer.options import GradientOptions
from graftwork_trainer.progress import tell

if TYPE_CHECKING:
    from graftwork_trainer.data.batches import StepBatches


@dataclass(frozen=True, slots=True)
class Length:
    """Where a training ends.

    Args:
        steps: the last step; None where the time alone ends it.
        ahead: steps by which the schedule is ahead of those that were taken, where a run by epochs goes on
            with other processes or batches: an epoch has another number of steps then.
    """

    steps: int | None
    ahead: int = 0

    @property
    def scheduled(self) -> int | None:
        """Steps of the schedule."""
        return None if self.steps is None else self.steps + self.ahead


def steps_of(epochs: float, epoch_steps: Fraction | None) -> int:
    """The steps of so many epochs, the last of which may go into the next epoch.

    Args:
        epochs: of the data.
        epoch_steps: steps in one of them.

    Raises:
        GraftworkError: nobody knows.

    >>> steps_of(2.5, Fraction(37, 8))
    12
    """
    if epoch_steps is None:
        raise GraftworkError(
            f"trainer.epochs is {epochs:g}, and the task's training batches do not say how many make an "
            "epoch (a dataset, a DataLoader, or batches with position, stride and epoch_samples do); give "
            "trainer.steps or trainer.minutes"
        )
    # As it is written: 0.1 of 100 steps are 10.
    return math.ceil(Fraction(str(epochs)) * epoch_steps)


def total_steps(options: GradientOptions, task: Task, workers: int = 1) -> int | None:
    """The steps of a whole training.

    Args:
        options: of the training.
        task: whose data make epochs.
        workers: that share them: processes or agents.

    Returns:
        None where the time alone ends it.

    Raises:
        GraftworkError: nobody knows how many steps make an epoch.
    """
    if options.epochs is None:
        return options.total_steps
    loading = options.loading(torch.device("cpu"))
    stream = open_stream(task, loading, rank=0, world_size=workers, seed=options.seed)
    stream.close()
    per_epoch = stream.per_epoch
    return steps_of(options.epochs, None if per_epoch is None else per_epoch / options.accumulate)


def length_by_epochs(epochs: float, batches: StepBatches, step: int) -> Length:
    """Where a training ends that goes so many times through its data.

    Args:
        epochs: of the data.
        batches: of the training, where it goes on.
        step: steps taken so far.

    Raises:
        GraftworkError: nobody knows, or more was taken already.
    """
    steps = steps_of(epochs, batches.epoch_steps)
    taken = math.floor(batches.taken_steps)
    if taken > steps:
        assert batches.epoch_steps
        raise GraftworkError(
            f"--resume: trainer.epochs is {epochs:g}, and {float(taken / batches.epoch_steps):.4g} are taken "
            "already; give as many or more"
        )
    length = Length(step + steps - taken, taken - step)
    if rank_and_size()[0] == 0:
        tell(f"trainer.epochs = {epochs:g} end with step {length.steps}")
    return length
