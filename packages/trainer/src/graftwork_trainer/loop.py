"""The training loop: plain torch, on one process or on many. It owns no algorithm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch.optim.lr_scheduler import LambdaLR

from graftwork import GraftworkError, Procedure
from graftwork_trainer.interval import Interval
from graftwork_trainer.progress import Progress
from graftwork_trainer.run_directory import RunDirectory
from graftwork_trainer.schedule import lr_factor
from graftwork_trainer.signals import stop_requests
from graftwork_trainer.timing import Stopwatch, peak_memory_bytes, state_bytes
from graftwork_trainer.training_state import TrainingState

if TYPE_CHECKING:
    from graftwork_trainer.stepping_loop import SteppingLoop


@dataclass
class Training:
    """One training, from its first step or a checkpoint's to its last.

    Args:
        options: of the loop.
        procedure: takes the steps.
        run: keeps metrics, checkpoints and the result.
    """

    options: SteppingLoop
    procedure: Procedure
    run: RunDirectory

    def __post_init__(self) -> None:
        options, procedure = self.options, self.procedure
        factor = lr_factor(
            options.schedule,
            steps=options.steps,
            warmup_steps=options.warmup_steps,
            final_fraction=options.final_lr_fraction,
        )
        self.scheduler = LambdaLR(procedure.optimizer, factor)
        saved = self.run.start(procedure.model, procedure.optimizer, procedure.device)
        self.state = TrainingState.from_saved(saved)
        self.scheduler.last_epoch = self.state.step
        procedure.start(self.state.step)
        self._factor = factor
        self._catch_up()
        self.interval = Interval(procedure)
        self.step_watch = Stopwatch(procedure.device)

    def run_to_end(self) -> None:
        """Step until the last step, an early stop or a request to stop; then write the result.

        Raises:
            GraftworkError: the loss is not finite, a checkpoint cannot be written, or a stop was requested.
        """
        if self._ended():
            self.run.close()
            return
        state, steps = self.state, self.options.steps
        with (
            self.run.progress(state.step, steps, self.procedure.unit) as progress,
            stop_requests() as stop_requested,
        ):
            self.interval.restart()
            # Asked once a step: a request that came after the records were kept would end it unsaved.
            stopping = False
            while not self._ended() and not stopping:
                with self.step_watch:
                    outcome = self.procedure.step()
                    self.scheduler.step()
                state.step += 1
                self._catch_up()
                self.interval.add(outcome, self.procedure.units)
                progress.advance()
                stopping = stop_requested()
                self._keep_records(progress, last=state.step >= steps or stopping)
            self._finish(stopping)

    def _catch_up(self) -> None:
        """Go on from where others are, if this process was behind."""
        position = self.procedure.position
        if position > self.state.step:
            self.state.step = self.scheduler.last_epoch = position
            for group, base in zip(
                self.procedure.optimizer.param_groups, self.scheduler.base_lrs, strict=True
            ):
                group["lr"] = base * self._factor(position)

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
            self.run.checkpoints.save(
                step, self.procedure.model, self.procedure.optimizer, self.state.to_save()
            )
        if evaluates or saves:
            self.interval.restart()

    def _log(self, progress: Progress) -> None:
        metrics = self.interval.read()
        metrics["train/learning_rate"] = float(self.scheduler.get_last_lr()[0])
        metrics |= {f"train/{name}": float(value) for name, value in self.procedure.measurements().items()}
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
        metrics = dict(self.procedure.evaluate())
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
        procedure = self.procedure
        return {
            "reason": None,
            "steps": self.state.step,
            "metrics": self.state.metrics,
            "parameters": sum(parameter.numel() for parameter in procedure.model.parameters()),
            "optimizer_state_bytes": state_bytes(procedure.optimizer),
            "step_seconds": seconds,
            "peak_memory_bytes": peak_memory_bytes(procedure.device),
            "unit": procedure.unit,
            "units_per_second": procedure.units / seconds["median"],
            **procedure.result(),
        }
