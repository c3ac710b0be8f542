"""The micro-batches of each step, starting where a resumed run left off."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import torch

from graftwork import Task
from graftwork_trainer.checkpoint.ranks import rank_and_size
from graftwork_trainer.data.opening import open_stream
from graftwork_trainer.device import move
from graftwork_trainer.options import GradientOptions
from graftwork_trainer.progress import tell
from graftwork_trainer.random_state import RandomState


class StepBatches:
    """Draws what one worker, a process or an agent, needs for a step, on its device.

    Args:
        task: gives the data.
        options: seed of the order, micro-batches in a step, worker processes.
        device: where batches go.
        rank: of the worker.
        world_size: number of workers.
        state: of :meth:`state`, to go on from.
        behind: micro-batches that were drawn since, by others.
    """

    def __init__(
        self,
        task: Task,
        options: GradientOptions,
        device: torch.device,
        *,
        rank: int = 0,
        world_size: int = 1,
        state: Mapping[str, Any] | None = None,
        behind: int = 0,
    ) -> None:
        self._task, self._device, self._accumulate = task, device, options.accumulate
        self._world_size = world_size
        self._tells = rank == 0 and rank_and_size()[0] == 0
        generators = RandomState.capture(device)
        loading = options.loading(device)
        self._stream = open_stream(task, loading, rank=rank, world_size=world_size, seed=options.seed)
        self._drawn = behind
        self.units = 0
        if state is not None:
            self._go_on_from(state)
        if behind:
            self._stream.skip(behind)
        if state is not None or behind:
            # A stream that draws from them, to augment images for one, goes on from what was put back.
            generators.restore()
        if self._stream.inexact:
            self._stream.remarks.append(f"a resumed run may meet other data: {self._stream.inexact}")
        self._tell()

    def next_step(self) -> list[Any]:
        """The micro-batches of the next step; ``units`` says how much is in them.

        Raises:
            GraftworkError: the stream ended, or a sample cannot be loaded.
        """
        drawn = [next(self._stream) for _ in range(self._accumulate)]
        self._drawn += self._accumulate
        self.units = sum(map(self._count, drawn))
        self._tell()
        return [move(batch, self._device) for batch in drawn]

    def state(self) -> dict[str, Any]:
        """Where it is in its data, and ``inexact``: why a resumed run would meet others, None where it will
        not."""
        return {
            "micro_batches": self._drawn,
            "workers": self._world_size,
            "stream": self._stream.state(),
            "inexact": self._stream.inexact,
        }

    @property
    def epoch_steps(self) -> Fraction | None:
        """Steps in which all workers together go once through the data; None where nobody knows."""
        per_epoch = self._stream.per_epoch
        return None if per_epoch is None else per_epoch / self._accumulate

    @property
    def taken_steps(self) -> Fraction:
        """Steps of today's size that make up what was taken from the data."""
        return self._stream.taken(self._drawn) / self._accumulate

    def close(self) -> None:
        """End worker processes."""
        self._stream.close()

    def _go_on_from(self, state: Mapping[str, Any]) -> None:
        self._drawn += int(state["micro_batches"])
        if not self._stream.restore(state["stream"]):
            self._stream.skip(int(state["micro_batches"]))
        if state["workers"] != self._world_size and not self._stream.shared:
            self._stream.remarks.append(
                f"the training data were dealt out to {state['workers']} and are to {self._world_size}, and "
                "have no common order (as a dataset has, or batches with position and seek): samples may be "
                "repeated or left out"
            )

    def _count(self, batch: Any) -> int:
        if hasattr(self._task, "count"):
            return int(self._task.count(batch))
        return self._stream.samples or 1

    def _tell(self) -> None:
        for remark in self._stream.remarks if self._tells else ():
            tell(remark)
        self._stream.remarks.clear()
