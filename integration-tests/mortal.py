"""A plugin with one task: any other task, of which one process dies without a word at a chosen batch."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from graftwork import Choice, Component, Kind, hookimpl


@hookimpl
def graftwork_components() -> Iterator[Component]:
    yield Component(Kind.TASK, "mortal", f"{__name__}:Mortal", "another task, in which a process may die")


class Mortal:
    """Pass everything on to another task.

    Args:
        inner: the other task.
        kill_at_batch: the training batch, from 1, at which the last rank kills itself; 0 for none.
    """

    def __init__(self, *, inner: Annotated[Choice, Kind.TASK], kill_at_batch: int = 0) -> None:
        self._task = inner()
        self._kill_at_batch = kill_at_batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def build_model(self) -> Any:
        return self._task.build_model()

    def batches(self, split: str, *, rank: int, world_size: int, seed: int) -> Any:
        stream = self._task.batches(split, rank=rank, world_size=world_size, seed=seed)
        dies = split == "train" and self._kill_at_batch and rank == world_size - 1
        return MortalStream(stream, self._kill_at_batch) if dies else stream

    def loss(self, model: Any, batch: Any) -> tuple[Any, Mapping[str, Any]]:
        outcome: tuple[Any, Mapping[str, Any]] = self._task.loss(model, batch)
        return outcome

    def evaluate(self, model: Any) -> Mapping[str, float]:
        metrics: Mapping[str, float] = self._task.evaluate(model)
        return metrics


class MortalStream(Iterator[Any]):
    """Batches until the fatal one."""

    def __init__(self, stream: Any, kill_at_batch: int) -> None:
        self._stream = stream
        self._left = kill_at_batch

    def skip(self, count: int) -> None:
        self._left -= count
        self._stream.skip(count)

    def __next__(self) -> Any:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return next(self._stream)
