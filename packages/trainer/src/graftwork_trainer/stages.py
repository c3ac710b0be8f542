"""Trainings one after another, each from the weights that the one before ended with.

::

    RUN/
      recipe.toml        every stage, nothing left to defaults
      environment.json   versions, commit, device
      stages/
        1-general/       a run directory like any other
        2-mine/
      result.json        how it ended, and each stage; absent while it runs, or where it was killed
      report.html        of all stages, with plots/

A stage that ended by itself is not trained again: the run goes on in the first that did not, and needs none
before one that has a checkpoint of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from graftwork import GraftworkError, Interrupted, load_recipe
from graftwork.plugin_code import said_by
from graftwork.resolution import Resolved
from graftwork_trainer.assets import start_of
from graftwork_trainer.causes import cause_of
from graftwork_trainer.checkpoint import Checkpoints, TrainingState
from graftwork_trainer.checkpoint.ranks import gathered
from graftwork_trainer.claim import refuse_another_run
from graftwork_trainer.durable import write_durably
from graftwork_trainer.plain_json import to_json
from graftwork_trainer.progress import tell
from graftwork_trainer.resuming import Identity
from graftwork_trainer.run_directory import RunDirectory
from graftwork_trainer.stage_folders import result_of, stage_folders, stage_names_in
from graftwork_trainer.status import COMPLETE_STATUSES
from graftwork_trainer.weights.places import find_place


class StagedRun:
    """The directory of a run of several stages; every rank holds one.

    Args:
        directory: of the run.
        recipe: of all stages.
        environment: plain data, see :func:`graftwork_trainer.environment.describe_environment`.
        resume: go on in the first stage that did not end.
        allow: what may be another than in the checkpoint that is gone on from.
        rank: of this process; rank 0 writes.
        quiet: no progress bars.

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
        self.directory = directory
        folders = stage_folders(directory, [stage.name for stage in recipe.stages])
        self._stages = dict(zip(folders, recipe.stages, strict=True))
        self._recipe, self._environment, self._resume = recipe, environment, resume
        self._main, self._begun = rank == 0, False
        self._settings: dict[str, Any] = {"allow": allow, "rank": rank, "quiet": quiet}
        if self._main and not resume:
            refuse_another_run(directory)
            try:
                self.begin()
            except OSError as error:
                raise GraftworkError(f"{directory}: {cause_of(error)}") from error

    def unfinished(self) -> Iterator[tuple[int, StageDirectory]]:
        """The place, from 0, and the directory of each stage that is yet to be trained.

        One as soon as that before it has ended; always the last one, whose model is the run's.

        Raises:
            GraftworkError: how a stage ended is not known, or it ended with another recipe.
        """
        start_from = None
        furthest = self._furthest() if self._resume else 0
        for place, (folder, stage) in enumerate(self._stages.items()):
            last = stage is self._recipe.stages[-1]
            status, begun = gathered((result_of(folder).get("status"), folder.is_dir()))[0]
            if place < furthest and not begun:
                if self._main:
                    tell(f"{folder} is gone, and not needed: a later stage has begun")
                continue
            if status not in COMPLETE_STATUSES or last:
                resume = self._resume and begun
                yield (
                    place,
                    StageDirectory(
                        self, start_from, folder, stage, self._environment, resume=resume, **self._settings
                    ),
                )
                # Rank 0 wrote it, and others may be ahead of it.
                status = gathered(result_of(folder).get("status"))[0]
            else:
                refuse_another_recipe(folder, stage)
            if status not in COMPLETE_STATUSES and not last:
                raise GraftworkError(
                    f"{folder / 'result.json'} is gone, and the next stage starts from what it says; go on "
                    f"with `graftwork train --resume {self.directory}`"
                )
            # Where the best could not be kept it ended with its last.
            best = gathered(result_of(folder).get("best_step"))[0]
            start_from = f"{folder}:best" if status == "stopped-early" and best else str(folder)

    def _furthest(self) -> int:
        """The place of the last stage that can go on from what it has itself."""
        begun = [bool(Checkpoints(folder / "checkpoints").steps()) for folder in self._stages]
        last: int = gathered(max((place for place, has in enumerate(begun) if has), default=0))[0]
        return last

    @contextmanager
    def recorded(self, name: str) -> Iterator[None]:
        """Name a stage that does not end by itself, and note how it ended.

        Raises:
            GraftworkError, Interrupted: as the stage did.
        """
        where = f"stage {name!r}"
        try:
            yield
        except Interrupted as error:
            self.finish("interrupted", f"{where} is not finished")
            raise Interrupted(f"{where}: {error}", error.number) from error
        except KeyboardInterrupt:
            self.finish("interrupted", f"{where} was ended at once by a signal")
            raise
        except GraftworkError as error:
            self.finish("failed", f"{where}: {error}")
            raise GraftworkError(f"{where}: {error}") from error
        except BaseException as error:
            self.finish("failed", f"{where}: {type(error).__name__}: {said_by(error)}")
            if isinstance(error, OSError) and error.filename is not None:  # the command line's sentence of it
                raise GraftworkError(f"{where}: {error.filename}: {error.strerror}") from error
            error.add_note(f"in {where}")
            raise

    def begin(self) -> None:
        """Write what the run is, once it may begin or go on, and again where it was removed."""
        if not self._main or (self._begun and (self.directory / "recipe.toml").exists()):
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        self._write("recipe.toml", self._recipe.to_toml())
        self._write("environment.json", to_json(dict(self._environment)))
        with suppress(OSError):  # it told how an earlier part ended
            (self.directory / "result.json").unlink(missing_ok=True)
        self._begun = True

    def finish(self, status: str | None = None, reason: str | None = None) -> None:
        """Write how the run ended; a resumption that was refused leaves what the run wrote of its end before.

        Args:
            status: as in the result of a stage; the last one's unless given.
            reason: why it did not end by itself.
        """
        if not self._begun:
            return
        results = [result_of(folder) for folder in self._stages]
        summary = {
            "status": status or results[-1].get("status"),
            "reason": reason,
            "wall_seconds": round(sum(result.get("wall_seconds", 0.0) for result in results), 3),
            "steps": sum(result.get("steps", 0) for result in results),
            "metrics": results[-1].get("metrics", {}),
            "stages": [
                {"name": stage.name, **{key: result.get(key) for key in ("status", "steps", "metrics")}}
                for stage, result in zip(self._recipe.stages, results, strict=True)
            ],
        }
        try:
            self._write("result.json", to_json(summary))
        except OSError as error:
            tell(f"{self.directory / 'result.json'} cannot be written: {cause_of(error)}")

    def _write(self, name: str, text: str) -> None:
        write_durably(self.directory / name, text.encode())


class StageDirectory(RunDirectory):
    """The directory of one stage, which is locked and resumed with the run that it belongs to.

    Args:
        whole: the run.
        start_from: what the stage before ended with, as ``trainer.start_from`` takes it; None for the first.
        directory: of the stage.
        recipe: of the stage, resolved.
        environment: see :class:`graftwork_trainer.run_directory.RunDirectory`, as for what follows.
        settings: further ones.
    """

    def __init__(
        self,
        whole: StagedRun,
        start_from: str | None,
        directory: Path,
        recipe: Resolved,
        environment: Mapping[str, Any],
        **settings: Any,
    ) -> None:
        super().__init__(directory, recipe, environment, **settings)
        self._whole = whole
        self.root, self.start_from = whole.directory, start_from

    def start(self, training: TrainingState) -> dict[str, Any]:
        """Put the newest checkpoint back; see :meth:`RunDirectory.start`. By now it is allowed to go on."""
        state = super().start(training)
        self._whole.begin()
        return state

    def save(self, training: TrainingState, progression: Mapping[str, Any], *, last: bool) -> bool:
        """Write a checkpoint; see :meth:`RunDirectory.save`."""
        written = super().save(training, progression, last=last)
        with self._going_on.without("recipe.toml"):
            self._whole.begin()
        return written


def refuse_other_stages(directory: Path, recipe: Resolved) -> None:
    """Refuse to go on in a run that has other stages, or to make stages of a run that has none.

    Raises:
        GraftworkError: it has; further ones may follow those that it has.
    """
    names = [stage.name for stage in recipe.stages]
    there = stage_names_in(directory)
    if there != names[: len(there)] or bool(there) is not bool(names):
        raise GraftworkError(
            f"resume: run {directory} has {_told(there)}, and the recipe {_told(names)}; give the one that "
            "the run was trained by"
        )


def refuse_absent_starts(directory: Path, stages: Sequence[Resolved]) -> None:
    """Refuse to train the first of several stages where a later one names weights that are not there.

    Raises:
        GraftworkError: it does, and they are not of another stage of this very run.
    """
    for stage in stages:
        start_from = start_of(stage)
        if start_from is None or Path(start_from).absolute().is_relative_to(directory.absolute()):
            continue
        try:
            find_place(start_from)
        except GraftworkError as error:
            raise GraftworkError(f"stage {stage.name!r}: {error}") from error


def _told(names: Sequence[str]) -> str:
    return f"the stages {', '.join(names)}" if names else "no stages"


def refuse_another_recipe(folder: Path, stage: Resolved) -> None:
    """Refuse what would be another stage than the one that ended.

    Raises:
        GraftworkError: it is, or it is not known what it was.
    """
    # Resolved anew, as an option that has come to a component since then is no change.
    trained = load_recipe(str(folder / "recipe.toml")).resolve()
    changes = Identity(trained.sections, {}, 1).changes_to(Identity(stage.sections, {}, 1))
    if changes:
        raise GraftworkError(
            f"--resume: stage {stage.name!r} of {folder} has ended, and {changes[0]}; put it back, or train "
            "another run"
        )
