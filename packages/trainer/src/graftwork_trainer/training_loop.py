"""What all gradient trainings share, whoever takes the steps: the kind ``training-loop``.

A trainer of any package takes a loop by name, hands it a :class:`graftwork.Procedure`, and has logging,
evaluation, schedules, early stop, checkpoints and resume. Its options become the trainer's own::

    def __init__(self, *, loop: Annotated[Choice, "training-loop", INLINE] = "standard", ...): ...
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import nn

from graftwork import Procedure, Task
from graftwork_trainer.batches import StepBatches
from graftwork_trainer.loop import Training
from graftwork_trainer.parallel import Device, World
from graftwork_trainer.random_state import make_deterministic, seed_everything
from graftwork_trainer.run_directory import RunDirectory
from graftwork_trainer.schedule import Schedule
from graftwork_trainer.step_rules import StepRule


class TrainingLoop:
    """Steps with schedules, accumulation, clipping, evaluation, early stop and exact resume.

    Args:
        steps: optimizer steps in all.
        seed: of the initial weights, the order of the data and dropout.
        accumulate: micro-batches of every rank that make one step.
        clip_norm: largest global gradient norm; none for no clipping.
        dropout_in_closure: for optimizers that only evaluate the loss: do so in training mode, with dropout,
            and not in evaluation mode.
        schedule: of the learning rate after the warm-up.
        warmup_steps: steps of linear warm-up; the first of them already moves.
        final_lr_fraction: of the base learning rate, where linear and cosine schedules end.
        precision: bfloat16 computes the loss under autocast; weights stay float32.
        device: auto takes CUDA where there is one.
        deterministic: use deterministic algorithms, at some cost on a GPU.
        log_every: steps between records of the training loss.
        evaluate_every: steps between evaluations; 0 for one at the end alone.
        patience: evaluations without a better validation loss before training stops; none for no early stop.
        checkpoint_every: steps between checkpoints; 0 for one at the end alone.
        keep_checkpoints: how many checkpoints stay.

    Raises:
        ValueError: an option is out of its range.
    """

    def __init__(
        self,
        *,
        steps: int = 1000,
        seed: int = 0,
        accumulate: int = 1,
        clip_norm: float | None = 1.0,
        dropout_in_closure: bool = False,
        schedule: Schedule = "cosine",
        warmup_steps: int = 0,
        final_lr_fraction: float = 0.1,
        precision: Literal["float32", "bfloat16"] = "float32",
        device: Device = "auto",
        deterministic: bool = True,
        log_every: int = 10,
        evaluate_every: int = 100,
        patience: int | None = None,
        checkpoint_every: int = 100,
        keep_checkpoints: int = 2,
    ) -> None:
        at_least = {
            "steps": (steps, 1),
            "accumulate": (accumulate, 1),
            "warmup_steps": (warmup_steps, 0),
            "log_every": (log_every, 1),
            "evaluate_every": (evaluate_every, 0),
            "checkpoint_every": (checkpoint_every, 0),
            "keep_checkpoints": (keep_checkpoints, 1),
            "patience": (1 if patience is None else patience, 1),
        }
        for name, (value, least) in at_least.items():
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if warmup_steps > steps:
            raise ValueError(f"warmup_steps must be at most steps = {steps}, got {warmup_steps}")
        if clip_norm is not None and not clip_norm > 0:
            raise ValueError(f"clip_norm must be above 0, or none for no clipping, got {clip_norm}")
        if not 0 <= final_lr_fraction <= 1:
            raise ValueError(f"final_lr_fraction must be in 0..1, got {final_lr_fraction}")
        self.steps = steps
        self.seed = seed
        self.accumulate = accumulate
        self.clip_norm = clip_norm
        self.dropout_in_closure = dropout_in_closure
        self.schedule: Schedule = schedule
        self.warmup_steps = warmup_steps
        self.final_lr_fraction = final_lr_fraction
        self.precision = precision
        self.device: Device = device
        self.deterministic = deterministic
        self.log_every = log_every
        self.evaluate_every = evaluate_every
        self.patience = patience
        self.checkpoint_every = checkpoint_every
        self.keep_checkpoints = keep_checkpoints

    def begin(self) -> None:
        """Choose deterministic algorithms where that was asked for, and seed what is drawn from here on."""
        if self.deterministic:
            make_deterministic()
        seed_everything(self.seed)

    def seed_process(self, number: int) -> None:
        """Seed what is drawn from here on, differently in each process."""
        seed_everything(self.seed + number)

    def place(self) -> torch.device:
        """Return the device of this process.

        Raises:
            GraftworkError: CUDA was asked for and there is none.
        """
        return World.current(self.device, "auto").device

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

    def train(self, procedure: Procedure, run: RunDirectory) -> None:
        """Drive a procedure to the end, or from the newest checkpoint to the end.

        Raises:
            GraftworkError: the loss is not finite, a checkpoint cannot be written or read, or a stop was
                requested.
        """
        run.checkpoints.keep = self.keep_checkpoints
        Training(self, procedure, run).run_to_end()
