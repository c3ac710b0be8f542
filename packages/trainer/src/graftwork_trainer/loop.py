"""The training loop: plain torch, on one process or on many. It owns no algorithm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from graftwork import GraftworkError, Task
from graftwork_trainer.batches import StepBatches
from graftwork_trainer.parallel import World, unwrapped
from graftwork_trainer.progress import Progress
from graftwork_trainer.run_directory import RunDirectory
from graftwork_trainer.signals import stop_requests
from graftwork_trainer.step_rules import StepOutcome, StepRule
from graftwork_trainer.timing import Stopwatch, peak_memory_bytes, state_bytes

if TYPE_CHECKING:
    from graftwork_trainer.standard import StandardTrainer


class Training:
    """One training from its first step, or a checkpoint's, to its last: the loop and what it carries
    along."""

    def __init__(
        self,
        trainer: StandardTrainer,
        task: Task,
        run: RunDirectory,
        world: World,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: LambdaLR,
        batches: StepBatches,
        state: Mapping[str, Any],
    ) -> None:
        self.trainer = trainer
        self.task = task
        self.run = run
        self.world = world
        self.model = model
        self.plain = unwrapped(model)
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.batches = batches
        self.step: int = state["step"]
        self.best_loss: float = state.get("best_loss", math.inf)
        self.evaluations_since_best: int = state.get("evaluations_since_best", 0)
        self.final_metrics: dict[str, float] = dict(state.get("metrics", {}))
        self.step_watch, self.optimizer_watch, self.interval = (Stopwatch(world.device) for _ in range(3))
        self.take_step = StepRule(
            task, model, optimizer, world, trainer.clip_norm, self._autocast, self.optimizer_watch
        )
        self.unlogged = Unlogged(world.device)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.trainer.precision == "float32":
            return nullcontext()
        return torch.autocast(self.world.device.type, dtype=torch.bfloat16)

    def run_to_end(self) -> None:
        """Step until the last step, an early stop or an interruption."""
        trainer = self.trainer
        unit = getattr(self.task, "unit", "samples")
        with self.run.progress(self.step, trainer.steps, unit) as progress, stop_requests() as stop_requested:
            self.model.train()
            self.interval.__enter__()
            while self.step < trainer.steps:
                with self.step_watch:
                    micro_batches = self.batches.next_step()
                    outcome = self.take_step(micro_batches)
                    self.scheduler.step()
                self.step += 1
                self.unlogged.add(outcome, self.batches.units)
                progress.advance()
                last = self.step == trainer.steps or stop_requested()
                evaluates, saves = (
                    self._due(trainer.evaluate_every, last),
                    self._due(trainer.checkpoint_every, last),
                )
                if evaluates or saves or last or self.step % trainer.log_every == 0:
                    self._log(progress, unit)
                if evaluates:
                    self._evaluate(progress)
                early = trainer.patience is not None and self.evaluations_since_best >= trainer.patience
                if saves or early:
                    self._save()
                if early or stop_requested():
                    break
                if evaluates or saves:
                    self.interval.__enter__()
        status = (
            "finished"
            if self.step == trainer.steps
            else "interrupted"
            if stop_requested()
            else "stopped-early"
        )
        self.run.finish(status, self._result(unit))
        if status == "interrupted":
            raise GraftworkError(
                f"stopped at step {self.step} and saved; continue with "
                f"`graftwork train --resume {self.run.directory}`"
            )

    def _due(self, every: int, last: bool) -> bool:
        return last or (every > 0 and self.step % every == 0)

    def _log(self, progress: Progress, unit: str) -> None:
        """Record the mean loss since the last record; the only place where the loop waits for the device."""
        self.interval.__exit__()
        self.interval.collect()
        metrics = self.unlogged.collect(self.world)
        metrics["train/learning_rate"] = float(self.scheduler.get_last_lr()[0])
        seconds = self.interval.seconds[-1]
        metrics[f"train/{unit}_per_second"] = self.unlogged.units * self.world.size / seconds
        if not math.isfinite(metrics["train/loss"]):
            whole = self.run.checkpoints.steps()
            kept = (
                f"the checkpoint of step {whole[-1]} is whole" if whole else "no checkpoint was written yet"
            )
            raise GraftworkError(
                f"the training loss became {metrics['train/loss']} by step {self.step} ({kept}); a lower "
                f"optimizer.lr, more trainer.warmup_steps or a trainer.clip_norm usually mends it"
            )
        self.run.record(self.step, metrics)
        progress.show(metrics)
        self.unlogged = Unlogged(self.world.device)
        self.interval.__enter__()

    def _evaluate(self, progress: Progress) -> None:
        metrics = {name: float(value) for name, value in self.task.evaluate(self.plain).items()}
        self.model.train()
        self.final_metrics = {f"validation/{name}": value for name, value in metrics.items()}
        self.run.record(self.step, self.final_metrics)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        progress.say(f"step {self.step}: validation {shown}")
        loss = metrics.get("loss", math.nan)
        if loss < self.best_loss:
            self.best_loss, self.evaluations_since_best = loss, 0
        else:
            self.evaluations_since_best += 1

    def _save(self) -> None:
        state = {
            "best_loss": self.best_loss,
            "evaluations_since_best": self.evaluations_since_best,
            "metrics": self.final_metrics,
        }
        self.run.checkpoints.save(self.step, self.plain, self.optimizer, state)

    def _result(self, unit: str) -> dict[str, Any]:
        steps = self.step_watch.summary()
        per_step = self.batches.units * self.world.size
        return {
            "reason": None,
            "steps": self.step,
            "metrics": self.final_metrics,
            "parameters": sum(parameter.numel() for parameter in self.plain.parameters()),
            "optimizer_state_bytes": state_bytes(self.optimizer),
            "step_seconds": steps,
            "optimizer_step_seconds": self.optimizer_watch.summary(),
            "peak_memory_bytes": peak_memory_bytes(self.world.device),
            "unit": unit,
            "units_per_second": per_step / steps["median"] if steps else 0.0,
        }


class Unlogged:
    """Sums since the last record, kept on the device."""

    def __init__(self, device: torch.device) -> None:
        self.loss = torch.zeros((), device=device)
        self.steps = 0
        self.units = 0
        self.latest: StepOutcome | None = None

    def add(self, outcome: StepOutcome, units: int) -> None:
        self.loss += outcome.loss
        self.steps += 1
        self.units += units
        self.latest = outcome

    def collect(self, world: World) -> dict[str, float]:
        metrics = {"train/loss": float(world.mean(self.loss / max(self.steps, 1)))}
        if self.latest is not None:
            if self.latest.gradient_norm is not None:
                metrics["train/gradient_norm"] = float(self.latest.gradient_norm)
            metrics.update({f"train/{name}": float(value) for name, value in self.latest.metrics.items()})
        return metrics
