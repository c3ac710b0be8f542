"""The directory of one training run.

::

    RUN/
      recipe.toml        as resolved, nothing left to defaults
      environment.json   versions, commit, device, facts of the data
      metrics.jsonl      one flat JSON object a line
      tensorboard/       the same numbers, for looking at
      checkpoints/       step-000500/, whole or absent; best-000300/, the weights of the best evaluation
      model/             the model as its own library loads it, see graftwork_trainer.model_folder
      history.json       what was changed when the run was resumed; absent where nothing was
      result.json        how it ended; absent while it runs, or where it was killed
      report.html        what to look at, with plots/
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import nn

from graftwork import GraftworkError
from graftwork.resolution import Resolved
from graftwork_trainer.causes import cause_of
from graftwork_trainer.checkpoint import Checkpoints, DamagedCheckpointError, Opened, TrainingState
from graftwork_trainer.checkpoint.ranks import RefusedError, gathered, rank_and_size
from graftwork_trainer.claim import refuse_another_run
from graftwork_trainer.durable import write_durably
from graftwork_trainer.going_on import GoingOn
from graftwork_trainer.history import read_history, write_history
from graftwork_trainer.lock import renew
from graftwork_trainer.model_folder.card import Card
from graftwork_trainer.model_folder.keeping import keep_model
from graftwork_trainer.model_folder.manifest import FOLDER
from graftwork_trainer.plain_json import read_json, to_json
from graftwork_trainer.progress import Progress, tell
from graftwork_trainer.recording import Recording
from graftwork_trainer.resuming import (
    Change,
    Identity,
    begins_optimizer_anew,
    identity_in,
    refuse_unless_allowed,
)
from graftwork_trainer.status import COMPLETE_STATUSES


class RunDirectory:
    """What a trainer is handed: metrics, checkpoints, progress and the final result of one run.

    Under several processes every rank holds one; only rank 0 writes metrics and results, all of them
    checkpoints.

    Args:
        directory: of the run.
        recipe: resolved.
        environment: plain data, see :func:`graftwork_trainer.environment.describe_environment`.
        resume: go on from the newest checkpoint instead of starting anew.
        allow: what may be another than in that checkpoint, see :mod:`graftwork_trainer.resuming`.
        rank: of this process.
        quiet: no progress bar.

    Raises:
        GraftworkError: the directory holds a run already and ``resume`` is off, or it cannot be written.
    """

    def __init__(
        self,
        directory: Path,
        recipe: Resolved,
        environment: Mapping[str, Any],
        *,
        resume: bool = False,
        allow: Collection[str] = (),
        rank: int = 0,
        quiet: bool = False,
    ) -> None:
        if recipe.stages:
            raise GraftworkError(
                f"run {directory}: the recipe has stages, each with a run directory of its own; train it by "
                "graftwork_trainer.train"
            )
        self.directory = self.root = directory
        """Of this training; and what ``--resume`` takes, which is the whole where this is a stage of it."""
        self.start_from: str | None = None
        """What the weights begin as, where the recipe does not say: in a stage after another, its."""
        self.asked_to_stop = 0
        """The signal that came when the training was ending by itself: what is to follow it should not."""
        self.callbacks: Sequence[Any] = ()
        """Objects that are told of the training, beside those of the recipe."""
        self.resume = resume
        self.metrics: Mapping[str, float] = {}
        """Of the run's result, once it has one."""
        self.checkpoints = Checkpoints(directory / "checkpoints")
        self._recipe = recipe
        self._allow = allow
        self._environment = dict(environment)
        self.main = rank == 0
        """Whether this process writes what is not of all."""
        self._quiet = quiet
        self._going_on = GoingOn(directory, shown=self.main)
        self.recording = Recording(directory, self._going_on)
        """Where metrics go, and by which trackers."""
        self._started = time.perf_counter()
        self._seconds_before = 0.0
        self._begun = self._ended = False
        if self.main and not resume:
            refuse_another_run(directory)

    def start(self, training: TrainingState) -> dict[str, Any]:
        """Put the newest checkpoint back where the run resumes, and open the metrics file at its step.

        Returns:
            What :meth:`save` was given of the progression, ``{"step": 0}`` for a fresh start.

        Raises:
            GraftworkError: the checkpoint is damaged or does not fit, or something has changed since that was
                not allowed.
        """
        checkpoint = self.checkpoints.newest() if self.resume else None
        changes = [] if checkpoint is None else self._changes_since(checkpoint)
        if checkpoint is not None:
            training.restore(checkpoint, optimizer=not begins_optimizer_anew(changes))
        state = {"step": 0} if checkpoint is None else _progression_in(checkpoint)
        if self.resume and checkpoint is None:
            self._going_on.tell(
                "resume", f"{self.directory.name} has no checkpoint to go on from, and begins anew"
            )
        if self.main:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._write_text("recipe.toml", self._recipe.to_toml())
            with self._going_on.without("environment.json"):
                self._write("environment.json", self._environment)
            self._tell_and_keep(changes, state["step"])
            self._seconds_before = self.recording.open(state["step"], self._recipe.sections)
        self._started = time.perf_counter()
        self._begun = True
        return state

    def save(self, training: TrainingState, progression: Mapping[str, Any], *, last: bool) -> bool:
        """Write a checkpoint; every rank calls it.

        Args:
            training: what to save.
            progression: plain data to get back from :meth:`start`; ``step`` among it.
            last: whether no other will follow; where the system refuses one that others follow, that is told,
                and the training goes on.

        Returns:
            Whether it was written.

        Raises:
            GraftworkError: it could not be written; earlier ones are untouched.
        """
        self._hold()
        now = self._identity()
        values = {"progression": dict(progression), "recipe": now.recipe, "data": now.data}
        try:
            self.checkpoints.save(progression["step"], training, values)
        except RefusedError as error:
            if last:
                raise
            self._going_on.tell(
                "checkpoints", f"{error}; the training goes on, and tries again at the next checkpoint"
            )
            return False
        self._going_on.works_again("checkpoints")
        if self.main and not (self.directory / "recipe.toml").exists():
            # Removed while it was trained, and with it the way to go on from the checkpoint.
            with self._going_on.without("recipe.toml"):
                self._write_text("recipe.toml", self._recipe.to_toml())
                self._write("environment.json", self._environment)
        return True

    def keep_best(self, step: int, model: nn.Module, metrics: Mapping[str, float]) -> bool:
        """Write the weights of the best evaluation so far; every rank calls it.

        Args:
            step: of the evaluation.
            model: as it was evaluated.
            metrics: of the evaluation.

        Returns:
            Whether they were written. Where the system refuses it, that is told, and training goes on.

        Raises:
            GraftworkError: they could not be written for another reason.
        """
        best = self.checkpoints.best
        if best is None:
            return False
        self._hold()
        now = self._identity()
        try:
            best.save(step, model, {"metrics": dict(metrics), "recipe": now.recipe, "data": now.data})
        except RefusedError as error:
            self._going_on.tell(
                "best", f"{error}; the training goes on, and tries again when it is better still"
            )
            return False
        self._going_on.works_again("best")
        return True

    def keep_last(self, step: int, model: nn.Module, metrics: Mapping[str, float]) -> str:
        """Write the weights that a run ends with, where its checkpoint has others; every rank calls it.

        Returns:
            Name of the checkpoint that has them, of the two.
        """
        now = self._identity()
        try:
            self.checkpoints.last.save(
                step, model, {"metrics": dict(metrics), "recipe": now.recipe, "data": now.data}
            )
        except RefusedError as error:
            self._going_on.tell("last", f"{error}; what is evaluated later is what was trained")
            return self.checkpoints.path(step).name
        return self.checkpoints.last.path(step).name

    def keep_model(
        self,
        model: nn.Module,
        step: int,
        metrics: Mapping[str, float],
        *,
        weights: str,
        why: str,
        sharded: bool = False,
    ) -> None:
        """Write the model in the layout of its own library; every rank calls it.

        Where it cannot be written, that is told, and training goes on.

        Args:
            model: as it was evaluated.
            step: of the evaluation.
            metrics: of the evaluation.
            weights: name of the checkpoint that has the same weights.
            why: which weights these are, in words.
            sharded: whether it is spread over ranks.
        """
        if self.checkpoints.best is None or not (self.main or sharded):
            return
        self._hold()
        card = Card(self.directory.resolve().name, self._recipe, self._environment, step, dict(metrics), why)
        try:
            keep_model(self.directory, model, card, weights, main=self.main)
        except Exception as error:  # of the library that writes it: the weights are in a checkpoint, too
            cause = cause_of(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            self._going_on.tell(
                FOLDER, f"{self.directory / FOLDER} cannot be written, which ends no training: {cause}"
            )
        else:
            self._going_on.works_again(FOLDER)

    def settle_best(self, step: int) -> None:
        """Keep the best weights of a step alone, which a checkpoint knows of; none with 0."""
        if self.checkpoints.best is not None:
            self.checkpoints.best.settle(step)

    def best_weights(self, step: int) -> Opened | None:
        """Open the best weights, which are of a step; None where they are not there. Every rank calls it."""
        best = self.checkpoints.best
        if best is None or not step:
            return None
        problem = f"{best.path(step)} is gone"
        try:
            if (opened := best.open(step)) is not None:
                return opened
        except DamagedCheckpointError as error:
            problem = str(error)
        self._going_on.tell("best", f"{problem}; the last weights take the place of the best")
        return None

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append metrics, named ``train/loss`` or ``validation/perplexity``, with the seconds trained so
        far."""
        self._hold()
        if self.main:
            with self._going_on.without("result.json"):
                # It told how an earlier part ended, and is out of date from here on.
                (self.directory / "result.json").unlink(missing_ok=True)
        self.recording.record(step, {"seconds": round(self.seconds, 3), **metrics})

    @property
    def seconds(self) -> float:
        """Wall time trained so far, earlier parts of a resumed run counted in."""
        return self._seconds_before + time.perf_counter() - self._started

    def note(self, facts: Mapping[str, Any]) -> None:
        """Add to ``environment.json``, written when training starts."""
        self._environment.update(facts)

    def note_again(self, fact: str) -> None:
        """Keep a fact that an earlier part of the run noted."""
        path = self.directory / "environment.json"
        with suppress(GraftworkError, OSError, TypeError, KeyError):  # a damaged one is written anew
            self.note({fact: read_json(path)[fact]})

    def goes_on(self) -> bool:
        """Whether there is a checkpoint to go on from; the same on every rank, which all call it."""
        saved = (self.directory / "checkpoints").glob("**/step-*")
        return self.resume and bool(gathered(any(path.suffix != ".partial" for path in saved))[0])

    def progress(self, start: int, total: int | None, unit: str) -> Progress:
        """A progress bar over steps, shown on rank 0."""
        return Progress(start, total, unit, label=self.directory.name, shown=self.main and not self._quiet)

    def has_result(self) -> bool:
        """Whether it is written that the run ended by itself; the same on every rank, which all call it."""
        path = self.directory / "result.json"
        status = None
        if self.main and path.is_file():
            with suppress(GraftworkError, OSError, TypeError, KeyError):  # a damaged one is written anew
                status = read_json(path)["status"]
        return gathered(status)[0] in COMPLETE_STATUSES

    def finish(self, status: str, result: Mapping[str, Any]) -> None:
        """Write how the run ended: ``finished``, ``stopped-early``, ``interrupted`` or ``failed``."""
        self.close()
        self._ended = True
        self.metrics = dict(result.get("metrics", {}))
        if self.main and self.directory.is_dir():
            with self._going_on.without("result.json"):
                self._write(
                    "result.json", {"status": status, "wall_seconds": round(self.seconds, 3), **result}
                )

    def close(self) -> None:
        """Close the metrics files."""
        self.recording.close()

    def fail(self, reason: str, status: str = "failed") -> None:
        """Write that the run did not end by itself, unless it did before, and why.

        A resumption that is refused leaves what the run's earlier part wrote of its end.
        """
        if not self._ended and (self._begun or not self.resume):
            self.finish(status, {"reason": reason})

    def _hold(self) -> None:
        """Go on only while the directory is this training's: one that was removed may be another's by now.

        Raises:
            GraftworkError: it is.
        """
        try:
            with self._going_on.without("lock"):
                renew(self.directory)
        except GraftworkError:
            self._ended = True
            self.recording.drop()
            raise

    def _identity(self, processes: int = 1) -> Identity:
        return Identity(self._recipe.sections, self._environment.get("data", {}), processes)

    def _changes_since(self, checkpoint: Opened) -> list[Change]:
        """What is another now, all of it allowed.

        Raises:
            GraftworkError: something is that was not allowed.
        """
        changes = identity_in(checkpoint).changes_to(self._identity(rank_and_size()[1]))
        refuse_unless_allowed(
            changes, self._allow, read_history(self.directory), checkpoint.step, self.directory
        )
        return changes

    def _tell_and_keep(self, changes: Collection[Change], step: int) -> None:
        history = read_history(self.directory)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        for change in changes:
            tell(f"{self.directory.name}, from step {step}: {change}")
            made = change.made_at(step, now)
            if not any(made.is_like(earlier) for earlier in history):
                history.append(made)
        if changes:
            write_history(self.directory, history)

    def _write(self, name: str, data: Any) -> None:
        self._write_text(name, to_json(data))

    def _write_text(self, name: str, text: str) -> None:
        write_durably(self.directory / name, text.encode())


def _progression_in(checkpoint: Opened) -> dict[str, Any]:
    state = checkpoint.part("progression")["progression"]
    if not isinstance(state, dict) or state.get("step") != checkpoint.step:
        raise GraftworkError(f"checkpoint {checkpoint.path}: does not say how far it was trained")
    return state
