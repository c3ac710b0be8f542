"""The training loop: plain torch, on one process or on many. It owns no algorithm."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from graftwork import GraftworkError, Task
from graftwork_trainer.batches import StepBatches
from graftwork_trainer.interval import Interval
from graftwork_trainer.parallel import World, forget_gathered, unwrapped
from graftwork_trainer.progress import Progress
from graftwork_trainer.run_directory import RunDirectory
from graftwork_trainer.signals import stop_requests
from graftwork_trainer.step_rules import StepRule
from graftwork_trainer.timing import Stopwatch, peak_memory_bytes, state_bytes
from graftwork_trainer.training_state import TrainingState

if TYPE_CHECKING:
    from graftwork_trainer.standard import StandardTrainer


@dataclass
class Training:
    """One training, from its first step or a checkpoint's to its last.

    Args:
        options: of the trainer.
        task: gives the loss and the metrics.
        run: keeps metrics, checkpoints and the result.
        world: this process among all.
        model: as wrapped for the process group.
        optimizer: over the model's parameters.
        scheduler: of its learning rate.
        batches: of this rank.
        state: where the training stands.
    """

    options: StandardTrainer
    task: Task
    run: RunDirectory
    world: World
    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: LambdaLR
    batches: StepBatches
    state: TrainingState

    def __post_init__(self) -> None:
        self.plain = unwrapped(self.model)
        self.unit: str = getattr(self.task, "unit", "samples")
        self.interval = Interval(self.world, self.unit)
        self.step_watch, self.optimizer_watch = Stopwatch(self.world.device), Stopwatch(self.world.device)
        self.take_step = StepRule(
            self.task,
            self.model,
            self.optimizer,
            self.world,
            self.options.clip_norm,
            self._autocast,
            self.optimizer_watch,
            self.options.dropout_in_closure,
        )

    def run_to_end(self) -> None:
        """Step until the last step, an early stop or a request to stop; then write the result.

        Raises:
            GraftworkError: the loss is not finite, a checkpoint cannot be written, or a stop was requested.
        """
        if self._ended():
            self.run.close()
            return
        state, steps = self.state, self.options.steps
        with self.run.progress(state.step, steps, self.unit) as progress, stop_requests() as stop_requested:
            self.model.train()
            self.interval.restart()
            # Asked once a step: a request that came after the records were kept would end it unsaved.
            stopping = False
            while not self._ended() and not stopping:
                with self.step_watch:
                    outcome = self.take_step(self.batches.next_step())
                    self.scheduler.step()
                state.step += 1
                self.interval.add(outcome, self.batches.units)
                progress.advance()
                stopping = stop_requested()
                self._keep_records(progress, last=state.step == steps or stopping)
            self._finish(stopping)

    def _ended(self) -> bool:
        patience = self.options.patience
        return self.state.step >= self.options.steps or (
            patience is not None and self.state.evaluations_since_best >= patience
        )

    def _keep_records(self, progress: Progress, *, last: bool) -> None:
        """Log, evaluate and save, each where it is due."""
        step, options = self.state.step, self.options
        evaluates = last or (options.evaluate_every > 0 and step % options.evaluate_every == 0)
        saves = last or (options.checkpoint_every > 0 and step % options.checkpoint_every == 0)
        # A record at every checkpoint makes the mean losses of a resumed run those of an uninterrupted one.
        if evaluates or saves or step % options.log_every == 0:
            self._log(progress)
        if evaluates:
            self._evaluate(progress)
        if saves or self._ended():
            self.run.checkpoints.save(step, self.plain, self.optimizer, self.state.to_save())
        if evaluates or saves:
            self.interval.restart()

    def _log(self, progress: Progress) -> None:
        metrics = self.interval.read()
        metrics["train/learning_rate"] = float(self.scheduler.get_last_lr()[0])
        if not math.isfinite(metrics["train/loss"]):
            whole = self.run.checkpoints.steps()
            kept = (
                f"the checkpoint of step {whole[-1]} is whole" if whole else "no checkpoint was written yet"
            )
            raise GraftworkError(
                f"the training loss became {metrics['train/loss']} by step {self.state.step} ({kept}); "
                f"a lower optimizer.lr, more trainer.warmup_steps or a trainer.clip_norm usually mends it"
            )
        self.run.record(self.state.step, metrics)
        progress.show(metrics)

    def _evaluate(self, progress: Progress) -> None:
        with _weights_to_evaluate(self.optimizer), self._autocast():
            metrics = {name: float(value) for name, value in self.task.evaluate(self.plain).items()}
            forget_gathered(self.plain)
        self.model.train()
        self.state.take_evaluation(metrics)
        self.run.record(self.state.step, self.state.metrics)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        progress.say(f"step {self.state.step}: validation {shown}")

    def _finish(self, stopping: bool) -> None:
        if self.state.step >= self.options.steps:
            self.run.finish("finished", self._result())
        elif self._ended():
            self.run.finish("stopped-early", self._result())
        elif stopping:
            self.run.finish("interrupted", self._result())
            raise GraftworkError(
                f"stopped at step {self.state.step} and saved; continue with "
                f"`graftwork train --resume {self.run.directory}`"
            )

    def _result(self) -> dict[str, Any]:
        seconds = self.step_watch.summary()
        return {
            "reason": None,
            "steps": self.state.step,
            "metrics": self.state.metrics,
            "parameters": sum(parameter.numel() for parameter in self.plain.parameters()),
            "optimizer_state_bytes": state_bytes(self.optimizer),
            "step_seconds": seconds,
            "optimizer_step_seconds": self.optimizer_watch.summary(),
            "peak_memory_bytes": peak_memory_bytes(self.world.device),
            "unit": self.unit,
            "units_per_second": self.batches.units * self.world.size / seconds["median"],
        }

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.options.precision == "float32":
            return nullcontext()
        return torch.autocast(self.world.device.type, dtype=torch.bfloat16)


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
