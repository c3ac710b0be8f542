"""The micro-batches of each step, starting where a resumed run left off."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from graftwork import GraftworkError, Task
from graftwork_trainer.parallel import World


class StepBatches:
    """Draws what this rank needs for one step, on its device.

    Args:
        task: gives the endless stream.
        world: this rank and the device.
        seed: of the stream.
        accumulate: micro-batches in a step.
        start: steps already taken; their batches are passed over.
        shared_by_ranks: whether all ranks draw the same batches, as one process alone would.
    """

    def __init__(
        self,
        task: Task,
        world: World,
        seed: int,
        accumulate: int,
        *,
        start: int,
        shared_by_ranks: bool = False,
    ) -> None:
        self._task = task
        self._world = world
        self._accumulate = accumulate
        rank, world_size = (0, 1) if shared_by_ranks else (world.rank, world.size)
        stream = task.batches("train", rank=rank, world_size=world_size, seed=seed)
        self._stream = _skipped(stream, start * accumulate)
        self.units = 0

    def next_step(self) -> list[Any]:
        drawn = list(itertools.islice(self._stream, self._accumulate))
        if len(drawn) < self._accumulate:
            raise GraftworkError(
                "the task's training batches ended; batches('train', ...) must go on without end"
            )
        count: Callable[[Any], int] = getattr(self._task, "count", lambda batch: 1)
        self.units = sum(map(count, drawn))
        return [self._world.move(batch) for batch in drawn]


def _skipped(stream: Iterable[Any], count: int) -> Iterator[Any]:
    if hasattr(stream, "skip"):
        stream.skip(count)
        return iter(stream)
    return itertools.islice(iter(stream), count, None)
