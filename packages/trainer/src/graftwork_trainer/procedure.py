"""How a trainer takes its steps, for the loop to drive."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graftwork import Direction
from graftwork_trainer.length import Length
from graftwork_trainer.options import LoopOptions
from graftwork_trainer.task_members import DEFAULT_DIRECTIONS


@dataclass(slots=True)
class StepOutcome:
    """What a step leaves for the log, still on the device.

    Args:
        loss: mean over the step's micro-batches, before the update.
        gradient_norm: before clipping; None where there are no gradients.
        metrics: the task's own, of the last micro-batch.
    """

    loss: Tensor
    gradient_norm: Tensor | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)


class Procedure(ABC):
    """What the loop drives: it logs, evaluates and saves, and owns no algorithm.

    Attributes:
        model: what a checkpoint holds.
        optimizer: over that model; the loop schedules its groups' ``lr`` and saves its state.
        device: where losses are.
        unit: of throughput, ``tokens`` for instance.
        units: trained on in the latest step, in all processes.
        position: steps taken so far; where others were ahead, one step may take it further than by one.
        sharded: whether all processes must take part in each pass of the model.
        directions: which way metrics are better.
        evaluates_others: whether the weights that are evaluated are others than those of the model.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    device: torch.device
    unit: str
    units: int
    position: int
    sharded: bool = False
    directions: Mapping[str, Direction] = DEFAULT_DIRECTIONS
    evaluates_others: bool = False

    @abstractmethod
    def start(self, step: int) -> None:
        """Take up the data after so many steps; called once, when a checkpoint has been loaded."""

    def length(self, options: LoopOptions) -> Length:
        """How many steps there are in all; asked for after :meth:`start`."""
        return Length(options.total_steps)

    def state(self) -> Mapping[str, Any]:
        """What this process must find again to go on, beside model and optimizer: tensors and plain data."""
        return {}

    def restore(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Take up what :meth:`state` gave, before :meth:`start`.

        Args:
            states: of every process that took part then, by rank; their number may be another now.
        """
        return

    @abstractmethod
    def step(self) -> StepOutcome:
        """Take one step."""

    @abstractmethod
    def evaluate(self) -> Mapping[str, float]:
        """Metrics on held-out data; called between :meth:`to_evaluated` and :meth:`to_trained`."""

    def to_evaluated(self) -> None:
        """Put the weights in place that the optimizer stands for, where it trains at others."""
        return

    def to_trained(self) -> None:
        """Put those back that are trained."""
        return

    def evaluated_model(self) -> nn.Module:
        """The model that is evaluated, the same in every process; asked for when its weights are in place."""
        return self.model

    def agree(self) -> None:
        """Bring what processes keep apart together; called before an evaluation and before a checkpoint."""
        return

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a scalar over processes."""
        return value

    def measurements(self) -> Mapping[str, float]:
        """Further metrics for a record, asked for whenever the loop makes one."""
        return {}

    def artefacts(self, model: nn.Module, folder: Path) -> None:
        """Write what the report is to show of the trained model, which :meth:`evaluated_model` gave."""
        return

    def close(self) -> None:
        """Let go of what works beside this process; called when training has ended, however it did."""
        return

    def result(self) -> Mapping[str, Any]:
        """Further facts for the run's result, over the loop's own."""
        return {}
