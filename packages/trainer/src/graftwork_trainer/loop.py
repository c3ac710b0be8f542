"""The training loop: plain torch, on one process or on many. It owns no algorithm."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from graftwork import GraftworkError, Interrupted
from graftwork.faults import sentence_of
from graftwork_trainer.callbacks import Callbacks
from graftwork_trainer.checkpoint import TrainingState
from graftwork_trainer.checkpoint.index import folder_name
from graftwork_trainer.checkpoint.model_state import restore_model
from graftwork_trainer.checkpoint.ranks import gathered
from graftwork_trainer.evaluation import kept_as_shown
from graftwork_trainer.finite import largest_weight
from graftwork_trainer.length import Length
from graftwork_trainer.options import LoopOptions
from graftwork_trainer.procedure import Procedure, StepOutcome
from graftwork_trainer.progress import Progress, tell
from graftwork_trainer.progression import Progression, direction_of
from graftwork_trainer.random_state import RandomState
from graftwork_trainer.run_directory import RunDirectory
from graftwork_trainer.schedule import lr_factor
from graftwork_trainer.signals import stop_requests
from graftwork_trainer.timing import Stopwatch, peak_memory_bytes, state_bytes
from graftwork_trainer.trackers import built_trackers
from graftwork_trainer.waiting import doing


def drive(procedure: Procedure, options: LoopOptions, run: RunDirectory) -> nn.Module:
    """Take steps to the last one, or from the newest checkpoint to the last one; then write the result.

    Returns:
        The model that the result is of: the last one, or the best one where training stopped early.

    Args:
        procedure: takes the steps.
        options: how many, and what is due when.
        run: keeps metrics, checkpoints and the result.

    Raises:
        GraftworkError: the loss is not finite, or a checkpoint cannot be written or read.
        Interrupted: a signal asked for it; what was trained is saved.
    """
    loop = Loop(procedure, options, run)
    with closing(procedure):
        return loop.run_to_end()


class Interval:
    """Sums over the steps since the last record, kept on the device: only reading them waits for it."""

    def __init__(self, procedure: Procedure) -> None:
        self._procedure = procedure
        self.restart()

    def restart(self) -> None:
        """Begin anew, for instance after an evaluation, whose time is not training's."""
        self._loss = torch.zeros((), device=self._procedure.device)
        self._steps = self._units = 0
        self._latest: StepOutcome | None = None
        self._learning_rate = math.nan
        self._started = time.perf_counter()

    def add(self, outcome: StepOutcome, learning_rate: float) -> None:
        """Take in one step.

        Args:
            outcome: of the step.
            learning_rate: that it was taken with.
        """
        self._loss += outcome.loss
        if outcome.gradient_norm is not None:
            # One that is not finite makes the mean so, which is all that is read from the device.
            self._loss += outcome.gradient_norm.to(self._loss.device) * 0.0
        self._learning_rate = learning_rate
        self._steps += 1
        self._units += self._procedure.units
        self._latest = outcome

    def read(self) -> dict[str, float]:
        """Mean loss and throughput, norm and metrics of the latest step; begin anew."""
        metrics: dict[str, float] = {}
        if self._latest is not None:
            metrics |= {f"train/{name}": float(value) for name, value in self._latest.metrics.items()}
            if self._latest.gradient_norm is not None:
                metrics["train/gradient_norm"] = float(self._latest.gradient_norm)
        # Over whatever a task calls by this name: the loop judges by it. Weights that are not finite make it
        # so, too: all processes learn of it by this one number.
        loss = self._loss / max(self._steps, 1) + largest_weight(self._procedure.model).to(self._loss) * 0.0
        metrics["train/loss"] = float(self._procedure.mean(loss))
        seconds = time.perf_counter() - self._started
        metrics[f"train/{self._procedure.unit}_per_second"] = self._units / seconds
        metrics["train/learning_rate"] = self._learning_rate
        self.restart()
        return metrics


class Loop:
    """One training; see :func:`drive`."""

    def __init__(self, procedure: Procedure, options: LoopOptions, run: RunDirectory) -> None:
        self.procedure, self.options, self.run = procedure, options, run
        self._length = Length(options.total_steps)
        self._time_over = 0.0
        if not all("lr" in group for group in procedure.optimizer.param_groups):
            raise GraftworkError(
                f"{type(procedure.optimizer).__name__} has a group of parameters without lr, which the loop "
                "schedules; give the optimizer an option lr"
            )
        self._training = TrainingState(procedure)
        self.scheduler = LambdaLR(procedure.optimizer, self._factor)
        run.checkpoints.keep = options.keep_checkpoints
        run.recording.trackers = built_trackers(options.trackers)
        self._direction = direction_of(options.best_by, procedure.directions)
        begun = run.start(self._training)
        uncounted = None if begun["step"] else 0  # in a checkpoint of before they were counted
        self.progression = Progression(**{"best_by": options.best_by, "units": uncounted, **begun})
        self.progression.judge_by(options.best_by)
        run.settle_best(self.progression.best_step)
        procedure.start(self.progression.step)
        self._length = procedure.length(options)
        if options.minutes is not None:
            # The first process alone knows how long earlier parts took.
            self._time_over = gathered(self._part_of_time())[0]
        self._set_rates()
        self._catch_up()
        self._callbacks = Callbacks(options.callbacks, run.callbacks, run.directory, procedure.device)
        self._recorded: Mapping[str, float] = {}
        self._interval = Interval(procedure)
        self._step_watch = Stopwatch(procedure.device)

    def run_to_end(self) -> nn.Module:
        """Step until the last step, an early stop or a request to stop; return the model of the result."""
        # One that was killed between its last checkpoint and its result is yet to write it.
        if self._ended() and self.run.has_result():
            self.run.close()
            model, best = self._final_model()
            self.run.metrics = self._final_metrics(best)
            return model
        progression = self.progression
        with (
            self.run.progress(progression.step, self._length.steps, self.procedure.unit) as progress,
            stop_requests(self.options.timeout_seconds) as stop_requested,
            doing("training"),
        ):
            self._interval.restart()
            # Asked once a step: a request that came after the records were kept would end it unsaved.
            stopping = 0
            while not self._ended() and not stopping:
                rate = float(self.procedure.optimizer.param_groups[0]["lr"])
                with self._step_watch:
                    outcome = self.procedure.step()
                    self.scheduler.step()
                progression.step += 1
                self._catch_up()
                self._interval.add(outcome, rate)
                progression.take_units(self.procedure.units)
                progress.advance()
                stopping, self._time_over = stop_requested(self._part_of_time())
                self._keep_records(progress, stopping=stopping > 0)
                self._callbacks.step(progression.step, self._recorded, self.procedure.model)
            model = self._finish(stopping)
            # Asked twice, as the signal of another process is known a call late.
            self.run.asked_to_stop = max(stop_requested(0.0)[0], stop_requested(0.0)[0])
            return model

    def _catch_up(self) -> None:
        """Go on from where others are, if this process was behind."""
        if self.procedure.position > self.progression.step:
            self.progression.step = self.procedure.position
            self._set_rates()

    def _set_rates(self) -> None:
        """Give every group the learning rate of the next step, by the recipe that is trained now."""
        self.scheduler.last_epoch = self.progression.step
        factor = self._factor(self.progression.step)
        groups = self.procedure.optimizer.param_groups
        for group, base in zip(groups, self.scheduler.base_lrs, strict=True):
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(base * factor)
            else:
                group["lr"] = base * factor

    def _factor(self, step: int) -> float:
        """On the base learning rate, at a step counted from 0."""
        options, length = self.options, self._length
        factor = lr_factor(
            options.schedule,
            steps=length.scheduled,
            warmup_steps=options.warmup_steps,
            final_fraction=options.final_lr_fraction,
        )
        return factor(step + length.ahead, self._time_over)

    def _part_of_time(self) -> float:
        """How much of the time that there is for training is over in this process."""
        minutes = self.options.minutes
        return 0.0 if minutes is None else self.run.seconds / (60 * minutes)

    def _complete(self) -> bool:
        """Whether training is as long as it should be."""
        steps = self._length.steps
        return self._time_over >= 1 or (steps is not None and self.progression.step >= steps)

    def _ended(self) -> bool:
        patience = self.options.patience
        return self._complete() or (
            patience is not None and self.progression.evaluations_since_best >= patience
        )

    def _keep_records(self, progress: Progress, *, stopping: bool) -> None:
        """Log, evaluate and save, each where it is due.

        One that stops saves, and does not evaluate: that would count for trainer.patience.
        """
        step, options = self.progression.step, self.options
        last = self._complete()
        evaluates = last or (options.evaluate_every > 0 and step % options.evaluate_every == 0)
        saves = last or stopping or (options.checkpoint_every > 0 and step % options.checkpoint_every == 0)
        # A record at every checkpoint makes the mean losses of a resumed run those of an uninterrupted one.
        if evaluates or saves or step % options.log_every == 0:
            self._log(progress)
        if evaluates or saves:
            self.procedure.agree()
        if evaluates:
            self._evaluate(progress)
        if saves or self._ended():
            ends = stopping or self._ended()
            with doing("saving a checkpoint"):
                saved = self.run.save(self._training, asdict(self.progression), last=ends)
            if saved:
                self.run.settle_best(self.progression.best_step)
        if evaluates or saves:
            self._interval.restart()

    def _log(self, progress: Progress) -> None:
        metrics = self._interval.read()
        metrics |= {f"train/{name}": float(value) for name, value in self.procedure.measurements().items()}
        if not math.isfinite(metrics["train/loss"]):
            raise GraftworkError(
                f"a loss, gradient or weight became {metrics['train/loss']} by step {self.progression.step} "
                f"({self.run.checkpoints.kept()}); a lower optimizer.lr, more trainer.warmup_steps or a "
                "trainer.clip_norm usually mends it"
            )
        self.run.record(self.progression.step, metrics)
        self._recorded = metrics
        progress.show(metrics)

    def _evaluate(self, progress: Progress) -> None:
        state = RandomState.capture(self.procedure.device)
        with self._as_evaluated():
            with doing("evaluating"):
                metrics = dict(self.procedure.evaluate())
            self._check_metrics(metrics)
            better = self.progression.take_evaluation(metrics, self._direction)
            self.run.record(self.progression.step, self.progression.metrics)
            if better:
                self._keep_best()
            self._callbacks.evaluation(
                self.progression.step, self.progression.metrics, self.procedure.evaluated_model()
            )
        # How often a model is evaluated must not change how it is trained.
        state.restore()
        shown = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        progress.say(f"step {self.progression.step}: validation {shown}")

    def _check_metrics(self, metrics: dict[str, float]) -> None:
        best_by, given = self.options.best_by, ", ".join(metrics) or "it has no metrics"
        if best_by not in metrics and self.options.patience is not None:
            raise GraftworkError(
                f"trainer.patience waits for a better validation {best_by}, and no metric of the task is "
                f"called {best_by!r} ({given}); leave patience out, or name a metric by trainer.best_by"
            )
        if best_by not in metrics and best_by != LoopOptions.best_by:
            raise GraftworkError(
                f"trainer.best_by is {best_by!r}, and no metric of the task is called so ({given})"
            )
        if not math.isfinite(metrics.get("loss", 0.0)):
            raise GraftworkError(
                f"the validation loss is {metrics['loss']} at step {self.progression.step}, and the training "
                f"loss is finite ({self.run.checkpoints.kept()}): look at the validation data"
            )

    def _keep_best(self) -> None:
        progression, model = self.progression, self.procedure.evaluated_model()
        if self.run.keep_best(progression.step, model, progression.metrics):
            progression.best_step, progression.best_metrics = progression.step, progression.metrics
            self._keep_model(model, best=True)

    def _keep_model(self, model: nn.Module, *, best: bool) -> None:
        """Write what the run's result stands for, or, until it has one, the best so far."""
        run, progression = self.run, self.progression
        step = progression.best_step if best else progression.step
        why = f"these are its best weights by validation {self.options.best_by}, of step {step}"
        weights = folder_name(step, "best")
        if not best:
            why = f"these are its last weights, of step {step}"
            weights = folder_name(step)
            if self.procedure.evaluates_others and run.checkpoints.best is not None:
                weights = run.keep_last(step, model, progression.metrics)
        sharded = self.procedure.sharded
        with doing("writing the model"):
            run.keep_model(model, step, self._final_metrics(best), weights=weights, why=why, sharded=sharded)

    @contextmanager
    def _as_evaluated(self) -> Iterator[None]:
        self.procedure.to_evaluated()
        try:
            yield
        finally:
            self.procedure.to_trained()

    def _finish(self, stopping: int) -> nn.Module:
        if stopping and not self._ended():
            self.run.finish("interrupted", self._result())
            raise Interrupted(
                f"stopped at step {self.progression.step} and saved; continue with "
                f"`graftwork train --resume {self.run.root}`",
                stopping,
            )
        complete = self._complete()
        model, best = self._final_model()
        self._keep_model(model, best=best)
        reason = None
        if self._time_over >= 1:
            reason = f"trainer.minutes = {self.options.minutes:g} are over"
        elif best:
            reason = f"metrics and artefacts are those of step {self.progression.best_step}, the best"
        self.run.finish(
            "finished" if complete else "stopped-early",
            {**self._result(), "metrics": self._final_metrics(best), "reason": reason},
        )
        try:
            with doing("writing what the task shows"):
                self.procedure.artefacts(model, self.run.directory / "artefacts")
        except Exception as error:  # what was trained is saved, and worth more than a picture of it
            told = f"the artefacts could not be written: {sentence_of(error)}"
            if self.procedure.sharded:  # the others wait in a pass of the model
                raise GraftworkError(told) from error
            tell(told)
        self._callbacks.end(self.progression.step, self._final_metrics(best), model)
        if self.procedure.evaluates_others and not best:
            # The optimizer is not kept, and what it shows in the place of weights would go with it.
            with kept_as_shown(model):
                self.procedure.to_trained()
        return model

    def _final_model(self) -> tuple[nn.Module, bool]:
        """The model that the result is of, and whether it is the best one; nothing is trained after this."""
        self.procedure.to_evaluated()
        model = self.procedure.evaluated_model()
        if self._complete():
            return model, False
        best = self.run.best_weights(self.progression.best_step)
        if best is None:
            self.progression.best_step = 0
            return model, False
        # What the optimizer shows in the place of its last weights must not be shown of these.
        self.procedure.to_trained()
        restore_model(model, best)
        return model, True

    def _final_metrics(self, best: bool) -> dict[str, float]:
        return self.progression.best_metrics if best else self.progression.metrics

    def _result(self) -> dict[str, Any]:
        seconds = self._step_watch.summary()
        procedure = self.procedure
        return {
            "reason": None,
            "steps": self.progression.step,
            "metrics": self.progression.metrics,
            "best_step": self.progression.best_step or None,
            "parameters": sum(parameter.numel() for parameter in procedure.model.parameters()),
            "optimizer_state_bytes": state_bytes(procedure.optimizer),
            "step_seconds": seconds,
            "peak_memory_bytes": peak_memory_bytes(procedure.device),
            "unit": procedure.unit,
            "units": self.progression.units,
            "units_per_second": procedure.units / seconds["median"] if seconds else None,
            **procedure.result(),
        }
