"""The micro-batches of each step, starting where a resumed run left off."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, SequentialSampler

from graftwork import GraftworkError, Task
from graftwork_trainer.device import move
from graftwork_trainer.options import GradientOptions
from graftwork_trainer.random_state import RandomState


class StepBatches:
    """Draws what one worker, a process or an agent, needs for a step, on its device.

    Args:
        task: gives the endless stream.
        options: seed of the stream, and micro-batches in a step.
        device: where batches go.
        start: micro-batches already drawn, which are passed over.
        rank: of the worker.
        world_size: number of workers.
    """

    def __init__(
        self,
        task: Task,
        options: GradientOptions,
        device: torch.device,
        *,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._task = task
        self._device = device
        self._accumulate = options.accumulate
        generators = RandomState.capture(device)
        stream = task.batches("train", rank=rank, world_size=world_size, seed=options.seed)
        self._stream = _skipped(stream, start)
        if start:
            # A stream that draws from them, to augment images for one, goes on from what was put back.
            generators.restore()
        self.drawn = start
        self.units = 0
        self.inexact = _inexact(stream)
        """Why a resumed run would meet other batches; None where it meets the same."""

    def next_step(self) -> list[Any]:
        """The micro-batches of the next step; ``units`` says how much is in them.

        Raises:
            GraftworkError: the stream ended.
        """
        drawn = list(itertools.islice(self._stream, self._accumulate))
        if len(drawn) < self._accumulate:
            raise GraftworkError(
                "the task's training batches ended; batches('train', ...) must go on without end"
            )
        self.drawn += self._accumulate
        count: Callable[[Any], int] = getattr(self._task, "count", lambda batch: 1)
        self.units = sum(map(count, drawn))
        return [move(batch, self._device) for batch in drawn]


def _inexact(stream: Iterable[Any]) -> str | None:
    if isinstance(stream, DataLoader) and not isinstance(stream.sampler, SequentialSampler):
        return "its batches come from a shuffling DataLoader, whose order does not follow from trainer.seed"
    return None


def _skipped(stream: Iterable[Any], count: int) -> Iterator[Any]:
    if hasattr(stream, "skip"):
        # In place, or by another stream, as that of a library of data sets.
        skipped = stream.skip(count)
        return iter(stream if skipped is None else skipped)
    batches = iter(stream)
    for _ in itertools.islice(batches, count):
        pass
    return batches
