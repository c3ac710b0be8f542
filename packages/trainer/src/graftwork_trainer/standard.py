"""The ``standard`` trainer: its options, and how a step of one model, shared by ranks, is taken.

What one step needs follows from the optimizer (:mod:`graftwork_trainer.step_rule`), what is trained from the
task, and how many processes share the work from ``torchrun`` (:mod:`graftwork_trainer.parallel`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graftwork import Choice, GraftworkError, Task
from graftwork.resolution import Resolved
from graftwork_trainer.data.batches import StepBatches
from graftwork_trainer.evaluation import evaluate, evaluation_mode
from graftwork_trainer.gradient_checkpointing import checkpoint_gradients
from graftwork_trainer.length import Length, length_by_epochs, total_steps
from graftwork_trainer.loop import drive
from graftwork_trainer.options import GradientOptions, LoopOptions
from graftwork_trainer.parallel import Parallel, World, forget_gathered, unwrapped
from graftwork_trainer.procedure import Procedure, StepOutcome
from graftwork_trainer.run_directory import RunDirectory
from graftwork_trainer.step_rule import StepRule, data_parallel_of
from graftwork_trainer.task_members import (
    decay_of,
    directions_of,
    facts_of,
    model_of,
    parameter_groups_of,
    rates_of,
    recorded_directions,
    unit_of,
)
from graftwork_trainer.timing import Stopwatch
from graftwork_trainer.weights import start_model


class StandardTrainer:
    """Gradient training with schedules, accumulation, clipping, evaluation, early stop and exact resume.

    Args:
        optimizer: the recipe's ``[optimizer]`` section.
        step_in_backward: let the optimizer step each weight within the backward pass and free its gradient at
            once; for optimizers with a method ``step_in_backward``, without clip_norm and without DDP.
        compile: compile the model with torch.compile.
        gradient_checkpointing: keep no activations within a model's blocks, and make them again in the
            backward pass: less memory, about a third more arithmetic, the same bits on a CPU.
        parallel: how ranks share the work under torchrun; auto is ddp, fsdp shards the model (FSDP2).
        loop: what every training by gradients has.

    Raises:
        ValueError: an option is out of its range.
    """

    def __init__(
        self,
        *,
        optimizer: Choice,
        step_in_backward: bool = False,
        compile: bool = False,
        gradient_checkpointing: bool = False,
        parallel: Parallel = "auto",
        loop: GradientOptions = GradientOptions(),
    ) -> None:
        if step_in_backward and loop.clip_norm is not None:
            raise ValueError(
                "clip_norm must be none with step_in_backward: the global norm is not known before the last "
                f"gradient is complete, and by then the first is gone; got {loop.clip_norm}"
            )
        self.optimizer = optimizer
        self.step_in_backward = step_in_backward
        self.compile = compile
        self.gradient_checkpointing = gradient_checkpointing
        self.parallel: Parallel = parallel
        self.loop = loop

    def total_steps(self, task: Task, workers: int = 1) -> int | None:
        """Optimizer steps in all; None where the time alone ends training.

        Args:
            task: whose data make epochs.
            workers: processes that share them.

        Raises:
            GraftworkError: nobody knows how many steps make an epoch.
        """
        alike = self.optimizer.options.get("data_parallel") == "probes"
        return total_steps(self.loop, task, 1 if alike else workers)

    def fit(self, task: Task, recipe: Resolved, run: RunDirectory) -> nn.Module:
        """Train the task's model to the end, or from the newest checkpoint to the end; return it.

        Raises:
            GraftworkError: the loss is not finite, or a checkpoint cannot be written or read.
        """
        world = World.current(self.loop.device, self.parallel)
        self.loop.begin()
        plain = world.place(model_of(task))
        start_model(plain, self.loop.start_from, task, run)
        if self.gradient_checkpointing:
            checkpoint_gradients(plain)
        optimizer: torch.optim.Optimizer = self.optimizer.for_model(
            plain,
            parameter_groups_of(task, plain),
            total_steps=self.total_steps(task, world.size),
            data_parallel="average" if world.size > 1 else "none",
        )
        model = world.wrap(plain, gradients=getattr(optimizer, "closure", None) != "loss")
        if hasattr(optimizer, "attach"):
            optimizer.attach(plain)
        if self.compile:
            model.compile()
        if self.step_in_backward:
            self._step_in_backward(optimizer, world)
        # Ranks share the initial weights, not their dropout.
        self.loop.seed_process(world.rank)
        run.note(
            {
                "world_size": world.size,
                "parallel": world.strategy,
                **decay_of(optimizer),
                **rates_of(optimizer),
                **recorded_directions(directions_of(task)),
                **facts_of(task),
            }
        )
        return drive(StandardProcedure(self.loop, task, world, model, optimizer), self.loop, run)

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
        optimizer.step_in_backward(1 if world.strategy == "fsdp" else self.loop.accumulate)


class StandardProcedure(Procedure):
    """One model, its gradients shared by ranks, its optimizer.

    Args:
        options: of the training.
        task: gives batches, the loss and the metrics.
        world: this process among all.
        model: as wrapped for the process group.
        optimizer: over the model's parameters.
    """

    def __init__(
        self,
        options: GradientOptions,
        task: Task,
        world: World,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        self._options, self._task, self._world, self._wrapped = options, task, world, model
        self.model = unwrapped(model)
        self.optimizer = optimizer
        self.evaluates_others = hasattr(optimizer, "eval") and hasattr(optimizer, "train")
        self.directions = directions_of(task)
        self.device = world.device
        self.unit = unit_of(task)
        self.sharded = world.strategy == "fsdp"
        self._optimizer_watch = Stopwatch(world.device)
        self._rule = StepRule(task, model, optimizer, world, options, self._optimizer_watch)
        self._place: Mapping[str, Any] | None = None

    def state(self) -> dict[str, Any]:
        """How far it is in its data."""
        return self._batches.state()

    def restore(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Find the place in the data again, whatever makes a step now."""
        # Its own, where there is one: an iterable dataset of each process's may be elsewhere in each.
        self._place = states[self._world.rank if self._world.rank < len(states) else 0]

    def start(self, step: int) -> None:
        """Take up the data after so many steps."""
        self.position = step
        alike = data_parallel_of(self.optimizer) == "probes"  # as one process alone would draw them
        self._batches = StepBatches(
            self._task,
            self._options,
            self.device,
            rank=0 if alike else self._world.rank,
            world_size=1 if alike else self._world.size,
            state=self._place,
        )
        # What a task has put into evaluation mode within a model that trains stays in it.
        if not self.model.training:
            self._wrapped.train()

    def length(self, options: LoopOptions) -> Length:
        """In steps, or in epochs of the data."""
        epochs = self._options.epochs
        if epochs is None:
            return super().length(options)
        return length_by_epochs(epochs, self._batches, self.position)

    def step(self) -> StepOutcome:
        """Take one."""
        outcome = self._rule(self._batches.next_step())
        self.units = self._batches.units * self._world.size
        self.position += 1
        return outcome

    def mean(self, value: Tensor) -> Tensor:
        """Over processes."""
        return self._world.mean(value)

    def agree(self) -> None:
        """On the running statistics of norms: DDP sends them before a pass, FSDP never."""
        self._world.agree_on_buffers(self.model)

    def evaluate(self) -> dict[str, float]:
        """The task's metrics, at the weights that the optimizer stands for."""
        forward = self._options.autocast(self.device)
        loading = self._options.loading(self.device)
        return evaluate(self._task, self.model, world=self._world, forward=forward, loading=loading)

    def to_evaluated(self) -> None:
        """Have an optimizer that trains at other weights than those it stands for put the latter in place."""
        if self.evaluates_others:
            self.optimizer.eval()  # type: ignore[attr-defined]

    def to_trained(self) -> None:
        """Have it put those back that it trains at."""
        if self.evaluates_others:
            self.optimizer.train()  # type: ignore[attr-defined]

    def artefacts(self, model: nn.Module, folder: Path) -> None:
        """Let the task write what it has to show; on rank 0, and sharded on all, since all must take part."""
        if not hasattr(self._task, "artefacts") or (self._world.rank and not self.sharded):
            return
        forward = self._options.autocast(self.device)
        with evaluation_mode(model), forward, tempfile.TemporaryDirectory() as elsewhere:
            kept = Path(elsewhere) if self._world.rank else folder
            kept.mkdir(parents=True, exist_ok=True)
            self._task.artefacts(model, kept)
            forget_gathered(model)

    def close(self) -> None:
        """End the processes that load samples."""
        self._batches.close()

    def result(self) -> dict[str, Any]:
        """Further facts for ``result.json``."""
        return {"optimizer_step_seconds": self._optimizer_watch.summary()}
