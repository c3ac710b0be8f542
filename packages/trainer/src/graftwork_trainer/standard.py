"""The ``standard`` trainer: its options, and how they become a training.

What one step needs follows from the optimizer (:mod:`graftwork_trainer.step_rules`), what is trained from the
task, and how many processes share the work from ``torchrun`` (:mod:`graftwork_trainer.parallel`).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch.optim.lr_scheduler import LambdaLR

from graftwork import Choice, GraftworkError, Task
from graftwork.resolution import Resolved
from graftwork_trainer.batches import StepBatches
from graftwork_trainer.loop import Training
from graftwork_trainer.parallel import Device, Parallel, World
from graftwork_trainer.random_state import make_deterministic, seed_everything
from graftwork_trainer.run_directory import RunDirectory
from graftwork_trainer.schedule import Schedule, lr_factor
from graftwork_trainer.step_rules import data_parallel_of
from graftwork_trainer.training_state import TrainingState


class StandardTrainer:
    """Gradient training with schedules, accumulation, clipping, evaluation, early stop and exact resume.

    Args:
        optimizer: the recipe's ``[optimizer]`` section.
        steps: optimizer steps in all.
        seed: of the initial weights, the order of the data and dropout.
        accumulate: micro-batches of every rank that make one step.
        clip_norm: largest global gradient norm; none for no clipping.
        step_in_backward: let the optimizer step each weight within the backward pass and free its gradient at
            once; for optimizers with a method ``step_in_backward``, without clip_norm and without DDP.
        dropout_in_closure: for optimizers that only evaluate the loss: do so in training mode, with dropout,
            and not in evaluation mode.
        schedule: of the learning rate after the warm-up.
        warmup_steps: steps of linear warm-up; the first of them already moves.
        final_lr_fraction: of the base learning rate, where linear and cosine schedules end.
        precision: bfloat16 computes the loss under autocast; weights stay float32.
        compile: compile the model with torch.compile.
        parallel: how ranks share the work under torchrun; auto is ddp, fsdp shards the model (FSDP2).
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
        optimizer: Choice,
        steps: int = 1000,
        seed: int = 0,
        accumulate: int = 1,
        clip_norm: float | None = 1.0,
        step_in_backward: bool = False,
        dropout_in_closure: bool = False,
        schedule: Schedule = "cosine",
        warmup_steps: int = 0,
        final_lr_fraction: float = 0.1,
        precision: Literal["float32", "bfloat16"] = "float32",
        compile: bool = False,
        parallel: Parallel = "auto",
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
        if step_in_backward and clip_norm is not None:
            raise ValueError(
                "clip_norm must be none with step_in_backward: the global norm is not known before the last "
                f"gradient is complete, and by then the first is gone; got {clip_norm}"
            )
        if not 0 <= final_lr_fraction <= 1:
            raise ValueError(f"final_lr_fraction must be in 0..1, got {final_lr_fraction}")
        self.optimizer = optimizer
        self.steps = steps
        self.seed = seed
        self.accumulate = accumulate
        self.clip_norm = clip_norm
        self.step_in_backward = step_in_backward
        self.dropout_in_closure = dropout_in_closure
        self.schedule: Schedule = schedule
        self.warmup_steps = warmup_steps
        self.final_lr_fraction = final_lr_fraction
        self.precision = precision
        self.compile = compile
        self.parallel: Parallel = parallel
        self.device: Device = device
        self.deterministic = deterministic
        self.log_every = log_every
        self.evaluate_every = evaluate_every
        self.patience = patience
        self.checkpoint_every = checkpoint_every
        self.keep_checkpoints = keep_checkpoints

    def fit(self, task: Task, recipe: Resolved, run: RunDirectory) -> None:
        """Train the task's model to the end, or from the newest checkpoint to the end.

        Raises:
            GraftworkError: the loss is not finite, or a checkpoint cannot be written or read.
        """
        world = World.current(self.device, self.parallel)
        if self.deterministic:
            make_deterministic()
        seed_everything(self.seed)
        plain = world.place(task.build_model())
        optimizer: torch.optim.Optimizer = self.optimizer.for_model(
            plain, total_steps=self.steps, data_parallel="average" if world.size > 1 else "none"
        )
        model = world.wrap(plain, gradients=getattr(optimizer, "closure", None) != "loss")
        if hasattr(optimizer, "attach"):
            optimizer.attach(plain)
        if self.compile:
            model.compile()
        if self.step_in_backward:
            self._step_in_backward(optimizer, world)
        factor = lr_factor(
            self.schedule,
            steps=self.steps,
            warmup_steps=self.warmup_steps,
            final_fraction=self.final_lr_fraction,
        )
        scheduler = LambdaLR(optimizer, factor)
        # Ranks share the initial weights, not their dropout.
        seed_everything(self.seed + world.rank)
        run.checkpoints.keep = self.keep_checkpoints
        run.note({"world_size": world.size, "parallel": world.strategy, **_facts(task)})
        state = TrainingState.from_saved(run.start(plain, optimizer, world.device))
        scheduler.last_epoch = state.step
        shared = data_parallel_of(optimizer) == "probes"
        batches = StepBatches(
            task, world, self.seed, self.accumulate, start=state.step, shared_by_ranks=shared
        )
        Training(self, task, run, world, model, optimizer, scheduler, batches, state).run_to_end()

    def _step_in_backward(self, optimizer: Any, world: World) -> None:
        if not hasattr(optimizer, "step_in_backward"):
            raise GraftworkError(
                f"trainer.step_in_backward: {type(optimizer).__name__} has no method step_in_backward"
            )
        if world.strategy == "ddp":
            raise GraftworkError(
                "trainer.step_in_backward: under DDP gradients are averaged after they are complete in each "
                "process; choose trainer.parallel = 'fsdp'"
            )
        # A sharded gradient arrives once a step, summed over the micro-batches already.
        optimizer.step_in_backward(1 if world.strategy == "fsdp" else self.accumulate)


def _facts(task: Task) -> dict[str, Any]:
    return {"data": dict(task.facts())} if hasattr(task, "facts") else {}
