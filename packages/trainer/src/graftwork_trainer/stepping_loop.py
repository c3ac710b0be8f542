"""What all trainings share, whoever takes the steps: ``training-loop/bare``.

A trainer of any package takes a loop by name, hands it a :class:`graftwork.Procedure`, and has logging,
evaluation, schedules, early stop, checkpoints and resume. Its options become the trainer's own::

    def __init__(self, *, loop: Annotated[Choice, "training-loop", INLINE] = "bare", ...): ...
"""

from __future__ import annotations

import torch

from graftwork import Procedure
from graftwork_trainer.loop import Training
from graftwork_trainer.parallel import Device, World
from graftwork_trainer.random_state import make_deterministic, seed_everything
from graftwork_trainer.run_directory import RunDirectory
from graftwork_trainer.schedule import Schedule


class SteppingLoop:
    """Steps with schedules, evaluation, early stop and exact resume.

    Args:
        steps: optimizer steps in all.
        seed: of the initial weights, the order of the data and dropout.
        schedule: of the learning rate after the warm-up.
        warmup_steps: steps of linear warm-up; the first of them already moves.
        final_lr_fraction: of the base learning rate, where linear and cosine schedules end.
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
        schedule: Schedule = "cosine",
        warmup_steps: int = 0,
        final_lr_fraction: float = 0.1,
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
        if not 0 <= final_lr_fraction <= 1:
            raise ValueError(f"final_lr_fraction must be in 0..1, got {final_lr_fraction}")
        self.steps = steps
        self.seed = seed
        self.schedule: Schedule = schedule
        self.warmup_steps = warmup_steps
        self.final_lr_fraction = final_lr_fraction
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

    def train(self, procedure: Procedure, run: RunDirectory) -> None:
        """Drive a procedure to the end, or from the newest checkpoint to the end.

        Raises:
            GraftworkError: the loss is not finite, a checkpoint cannot be written or read, or a stop was
                requested.
        """
        run.checkpoints.keep = self.keep_checkpoints
        Training(self, procedure, run).run_to_end()
