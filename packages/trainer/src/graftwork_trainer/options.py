"""The options of a training, as dataclasses that a trainer gathers: ``loop: LoopOptions = LoopOptions()``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch

from graftwork import Choice, GraftworkError, Kind
from graftwork_trainer.data.workers import Loading
from graftwork_trainer.device import Device
from graftwork_trainer.random_state import make_deterministic, seed_everything
from graftwork_trainer.schedule import Schedule

_DEFAULT_STEPS = 1000


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """What every training has, whoever takes its steps.

    Args:
        steps: optimizer steps in all; none for 1000, or for as many as another option makes of it.
        minutes: of wall time after which training ends, earlier parts of a resumed run counted in; or with
            the last step, whichever comes first.
        seed: of the initial weights, the order of the data and dropout.
        schedule: of the learning rate after the warm-up.
        warmup_steps: steps of linear warm-up; the first of them already moves.
        final_lr_fraction: of the base learning rate, where linear and cosine schedules end.
        device: auto takes CUDA where there is one.
        deterministic: use deterministic algorithms, at some cost on a GPU.
        log_every: steps between records of the training loss.
        evaluate_every: steps between evaluations; 0 for one at the end alone.
        best_by: name of the validation metric by which the best weights are kept, and patience judges.
        patience: evaluations without a better value of it before training stops, with the best weights; none
            for no early stop.
        checkpoint_every: steps between checkpoints; 0 for one at the end alone.
        keep_checkpoints: how many checkpoints stay.
        trackers: where metrics go beside metrics.jsonl, which is always written.
        callbacks: what is told of steps, evaluations and the end, and changes nothing.
        timeout_seconds: after how long a process that does not answer ends the others; longer than any step,
            evaluation or checkpoint takes.

    Raises:
        ValueError: an option is out of its range.
    """

    steps: int | None = None
    minutes: float | None = None
    seed: int = 0
    schedule: Schedule = "cosine"
    warmup_steps: int = 0
    final_lr_fraction: float = 0.1
    device: Device = "auto"
    deterministic: bool = True
    log_every: int = 10
    evaluate_every: int = 100
    best_by: str = "loss"
    patience: int | None = None
    checkpoint_every: int = 100
    keep_checkpoints: int = 2
    trackers: Annotated[Sequence[Choice | str], Kind.TRACKER] = ("tensorboard",)
    callbacks: Annotated[Sequence[Choice | str], Kind.CALLBACK] = ()
    timeout_seconds: float = 600.0

    def __post_init__(self) -> None:
        at_least = {
            "steps": 1,
            "warmup_steps": 0,
            "log_every": 1,
            "evaluate_every": 0,
            "patience": 1,
            "checkpoint_every": 0,
            "keep_checkpoints": 1,
        }
        for name, least in at_least.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"minutes must be above 0, or none for no limit, got {self.minutes}")
        if not self.timeout_seconds > 0:
            raise ValueError(f"timeout_seconds must be above 0, got {self.timeout_seconds}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be in 0..2**63 - 1, got {self.seed}")
        if self.total_steps is not None and self.warmup_steps > self.total_steps:
            raise ValueError(
                f"warmup_steps must be at most steps = {self.total_steps}, got {self.warmup_steps}"
            )
        if not 0 <= self.final_lr_fraction <= 1:
            raise ValueError(f"final_lr_fraction must be in 0..1, got {self.final_lr_fraction}")

    @property
    def total_steps(self) -> int | None:
        """The last step, where it is known before the data are; None where the time alone ends training."""
        return _DEFAULT_STEPS if self.steps is None and self.minutes is None else self.steps

    def begin(self) -> None:
        """Choose deterministic algorithms where that was asked for, and seed what is drawn from here on."""
        if self.deterministic:
            make_deterministic()
        seed_everything(self.seed)

    def seed_process(self, number: int) -> None:
        """Seed what is drawn from here on, differently in each process."""
        seed_everything(self.seed + number)


@dataclass(frozen=True, kw_only=True)
class GradientOptions(LoopOptions):
    """What trainings by gradients of a task's loss have besides.

    Args:
        start_from: weights to begin with: a run, RUN:best, RUN:600, a .safetensors file or a folder of a
            model; none for those of the task.
        epochs: times that training goes through its data, in place of steps; parts of one, too.
        accumulate: micro-batches of every rank that make one step.
        workers: processes of every rank that load samples of a task's dataset; 0 for none, or for as many as
            its DataLoader says.
        clip_norm: largest global gradient norm; none for no clipping.
        dropout_in_closure: for optimizers that only evaluate the loss: do so in training mode, with dropout,
            and not in evaluation mode.
        precision: bfloat16 computes the loss under autocast; weights stay float32.

    Raises:
        ValueError: an option is out of its range.
    """

    start_from: str | None = None
    epochs: float | None = None
    accumulate: int = 1
    workers: int = 0
    clip_norm: float | None = 1.0
    dropout_in_closure: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs is not None and not 0 < self.epochs < math.inf:
            raise ValueError(f"epochs must be above 0, or none, got {self.epochs}")
        if self.epochs is not None and self.steps is not None:
            raise ValueError(
                f"epochs = {self.epochs:g} and steps = {self.steps} both say how long to train; leave one "
                "out, or make it none"
            )
        if self.accumulate < 1:
            raise ValueError(f"accumulate must be at least 1, got {self.accumulate}")
        if self.workers < 0:
            raise ValueError(f"workers must be at least 0, got {self.workers}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm must be above 0, or none for no clipping, got {self.clip_norm}")

    @property
    def total_steps(self) -> int | None:
        """The last step; None where the time or the data say which it is."""
        return super().total_steps if self.epochs is None else None

    def loading(self, device: torch.device) -> Loading:
        """How samples are loaded for a device."""
        return Loading(
            workers=self.workers, timeout_seconds=self.timeout_seconds, pin_memory=device.type == "cuda"
        )

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """The context that losses are computed in.

        Raises:
            GraftworkError: the device does not compute in that precision.
        """
        if self.precision == "float32":
            return nullcontext()
        if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
            raise GraftworkError(
                "trainer.precision is 'bfloat16', and this CUDA device does not compute in it; use 'float32'"
            )
        return torch.autocast(device.type, dtype=torch.bfloat16)
