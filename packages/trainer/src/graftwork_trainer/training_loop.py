"""The loop of trainings by gradients: ``training-loop/standard``.

Beside what every loop has (:mod:`.stepping_loop`), it gives a procedure its batches, and the gradients or the
closure of a step for one model alone.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any, Literal

import torch
from torch import nn

from graftwork import INLINE, Choice, Procedure, Task
from graftwork_trainer.batches import StepBatches
from graftwork_trainer.parallel import Device, World
from graftwork_trainer.run_directory import RunDirectory
from graftwork_trainer.step_rules import StepRule
from graftwork_trainer.stepping_loop import SteppingLoop


class TrainingLoop:
    """Gradient steps with schedules, accumulation, clipping, evaluation, early stop and exact resume.

    Args:
        accumulate: micro-batches of every rank that make one step.
        clip_norm: largest global gradient norm; none for no clipping.
        dropout_in_closure: for optimizers that only evaluate the loss: do so in training mode, with dropout,
            and not in evaluation mode.
        precision: bfloat16 computes the loss under autocast; weights stay float32.
        stepping: what drives the steps; its options are options of this loop.

    Raises:
        ValueError: an option is out of its range.
    """

    def __init__(
        self,
        *,
        accumulate: int = 1,
        clip_norm: float | None = 1.0,
        dropout_in_closure: bool = False,
        precision: Literal["float32", "bfloat16"] = "float32",
        stepping: Annotated[Choice, "training-loop", INLINE] = "bare",  # type: ignore[assignment]
    ) -> None:
        if accumulate < 1:
            raise ValueError(f"accumulate must be at least 1, got {accumulate}")
        if clip_norm is not None and not clip_norm > 0:
            raise ValueError(f"clip_norm must be above 0, or none for no clipping, got {clip_norm}")
        self.stepping: SteppingLoop = stepping()
        self.accumulate = accumulate
        self.clip_norm = clip_norm
        self.dropout_in_closure = dropout_in_closure
        self.precision = precision

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return self.stepping.steps

    @property
    def seed(self) -> int:
        """Of the initial weights, the order of the data and dropout."""
        return self.stepping.seed

    @property
    def device(self) -> Device:
        """As asked for."""
        return self.stepping.device

    def begin(self) -> None:
        """Choose deterministic algorithms where that was asked for, and seed what is drawn from here on."""
        self.stepping.begin()

    def seed_process(self, number: int) -> None:
        """Seed what is drawn from here on, differently in each process."""
        self.stepping.seed_process(number)

    def place(self) -> torch.device:
        """Return the device of this process."""
        return self.stepping.place()

    def train(self, procedure: Procedure, run: RunDirectory) -> None:
        """Drive a procedure to the end, or from the newest checkpoint to the end."""
        self.stepping.train(procedure, run)

    def batches(
        self, task: Task, device: torch.device, *, rank: int, world_size: int, start: int
    ) -> StepBatches:
        """Return the micro-batches of one worker's steps.

        Args:
            task: gives them.
            device: where they go.
            rank: of the worker, a process or an agent.
            world_size: number of workers.
            start: steps that were taken before.
        """
        return StepBatches(
            task, World(rank, world_size, device, "single"), self.seed, self.accumulate, start=start
        )

    def step_rule(
        self, task: Task, model: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
    ) -> StepRule:
        """Return how one model alone computes the gradients, or the closure, of a step."""
        return StepRule(
            task,
            model,
            optimizer,
            World(0, 1, device, "single"),
            self.clip_norm,
            lambda: self.autocast(device),
            dropout_in_closure=self.dropout_in_closure,
        )

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """The context that losses are computed in."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(device.type, dtype=torch.bfloat16)
