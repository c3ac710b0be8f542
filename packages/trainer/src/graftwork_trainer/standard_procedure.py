"""A step of the standard trainer: one model, its gradients shared by ranks, its optimizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from graftwork import Task
from graftwork_trainer.batches import StepBatches
from graftwork_trainer.parallel import World, forget_gathered, unwrapped
from graftwork_trainer.step_rules import StepOutcome, StepRule, data_parallel_of
from graftwork_trainer.timing import Stopwatch

if TYPE_CHECKING:
    from graftwork_trainer.training_loop import TrainingLoop


class StandardProcedure:
    """What the loop drives.

    Args:
        loop: its options.
        task: gives batches, the loss and the metrics.
        world: this process among all.
        model: as wrapped for the process group.
        optimizer: over the model's parameters.
    """

    def __init__(
        self,
        loop: TrainingLoop,
        task: Task,
        world: World,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        self._loop, self._task, self._world, self._wrapped = loop, task, world, model
        self.model = unwrapped(model)
        self.optimizer = optimizer
        self.device = world.device
        self.unit: str = getattr(task, "unit", "samples")
        self._optimizer_watch = Stopwatch(world.device)
        self._rule = StepRule(
            task,
            model,
            optimizer,
            world,
            loop.clip_norm,
            lambda: loop.autocast(world.device),
            self._optimizer_watch,
            loop.dropout_in_closure,
        )

    def start(self, step: int) -> None:
        """Take up the data after so many steps."""
        self.position = step
        self._batches = StepBatches(
            self._task,
            self._world,
            self._loop.seed,
            self._loop.accumulate,
            start=step,
            shared_by_ranks=data_parallel_of(self.optimizer) == "probes",
        )
        self._wrapped.train()

    @property
    def units(self) -> int:
        """Of the latest step, in all processes."""
        return self._batches.units * self._world.size

    def step(self) -> StepOutcome:
        """Take one."""
        outcome = self._rule(self._batches.next_step())
        self.position += 1
        return outcome

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """Over processes."""
        return self._world.mean(value)

    def evaluate(self) -> dict[str, float]:
        """The task's metrics, at the weights that the optimizer stands for."""
        with _weights_to_evaluate(self.optimizer), self._loop.autocast(self.device):
            metrics = {name: float(value) for name, value in self._task.evaluate(self.model).items()}
            forget_gathered(self.model)
        self._wrapped.train()
        return metrics

    def measurements(self) -> Mapping[str, float]:
        """Nothing beyond what the loop records."""
        return {}

    def result(self) -> dict[str, Any]:
        """Further facts for ``result.json``."""
        return {"optimizer_step_seconds": self._optimizer_watch.summary()}


@contextmanager
def _weights_to_evaluate(optimizer: Any) -> Iterator[None]:
    """Have an optimizer that trains at other weights than those it stands for put the latter in place."""
    swaps = hasattr(optimizer, "eval") and hasattr(optimizer, "train")
    if swaps:
        optimizer.eval()
    try:
        yield
    finally:
        if swaps:
            optimizer.train()
