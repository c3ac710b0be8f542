"""The ``standard`` trainer: its options, and how they become a training.

What one step needs follows from the optimizer (:mod:`graftwork_trainer.step_rules`), what is trained from the
task, and how many processes share the work from ``torchrun`` (:mod:`graftwork_trainer.parallel`).
"""

from __future__ import annotations

from typing import Annotated, Any

import torch

from graftwork import INLINE, Choice, GraftworkError, Task
from graftwork.resolution import Resolved
from graftwork_trainer.parallel import Parallel, World
from graftwork_trainer.run_directory import RunDirectory
from graftwork_trainer.standard_procedure import StandardProcedure
from graftwork_trainer.training_loop import TrainingLoop


class StandardTrainer:
    """Gradient training with schedules, accumulation, clipping, evaluation, early stop and exact resume.

    Args:
        optimizer: the recipe's ``[optimizer]`` section.
        step_in_backward: let the optimizer step each weight within the backward pass and free its gradient at
            once; for optimizers with a method ``step_in_backward``, without clip_norm and without DDP.
        compile: compile the model with torch.compile.
        parallel: how ranks share the work under torchrun; auto is ddp, fsdp shards the model (FSDP2).
        loop: what drives the steps; its options are options of the trainer.

    Raises:
        ValueError: an option is out of its range.
    """

    def __init__(
        self,
        *,
        optimizer: Choice,
        step_in_backward: bool = False,
        compile: bool = False,
        parallel: Parallel = "auto",
        loop: Annotated[Choice, "training-loop", INLINE] = "standard",  # type: ignore[assignment]
    ) -> None:
        self.loop: TrainingLoop = loop()
        if step_in_backward and self.loop.clip_norm is not None:
            raise ValueError(
                "clip_norm must be none with step_in_backward: the global norm is not known before the last "
                f"gradient is complete, and by then the first is gone; got {self.loop.clip_norm}"
            )
        self.optimizer = optimizer
        self.step_in_backward = step_in_backward
        self.compile = compile
        self.parallel: Parallel = parallel

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return self.loop.steps

    def fit(self, task: Task, recipe: Resolved, run: RunDirectory) -> None:
        """Train the task's model to the end, or from the newest checkpoint to the end.

        Raises:
            GraftworkError: the loss is not finite, or a checkpoint cannot be written or read.
        """
        world = World.current(self.loop.device, self.parallel)
        self.loop.begin()
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
        # Ranks share the initial weights, not their dropout.
        self.loop.seed_process(world.rank)
        run.note({"world_size": world.size, "parallel": world.strategy, **facts_of(task)})
        self.loop.train(StandardProcedure(self.loop, task, world, model, optimizer), run)

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


def facts_of(task: Task) -> dict[str, Any]:
    """What a task says of its data, for the run's environment."""
    return {"data": dict(task.facts())} if hasattr(task, "facts") else {}
