"""A run directory as data: recipe, environment, curves and result, of all its stages where it has several.

A run that was killed is still a run: a torn last line of ``metrics.jsonl`` is dropped, and without a
``result.json`` the run counts as unfinished.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from graftwork import Direction, GraftworkError
from graftwork.recipe_file import read_text, read_toml
from graftwork_trainer.history import Changed, read_history
from graftwork_trainer.plain_json import read_json
from graftwork_trainer.report.curve_file import Curve, number, read_curves
from graftwork_trainer.stage_folders import stage_folders, stage_names
from graftwork_trainer.status import COMPLETE_STATUSES

RUN_FILES = ("recipe.toml", "environment.json")
"""What every run has from its beginning."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds that something took, over the steps of a run."""

    median: float
    p10: float | None = None
    p90: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What a run wrote when it ended; None stands for what it did not measure.

    ``units`` are what it was trained on, tokens for instance, of ``communication`` each number has its name.
    """

    status: str
    reason: str | None = None
    steps: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    parameters: float | None = None
    optimizer_state_bytes: float | None = None
    step_seconds: Timing | None = None
    optimizer_step_seconds: Timing | None = None
    peak_memory_bytes: float | None = None
    units_per_second: float | None = None
    unit: str | None = None
    units: float | None = None
    wall_seconds: float | None = None
    best_step: int | None = None
    communication: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One training run as its directory tells it.

    Args:
        path: the run directory.
        recipe: the resolved recipe.
        recipe_text: the same as it stands in the file.
        environment: versions, device and threads.
        curves: a curve for every metric, by its full name (``validation/loss``).
        result: what the run wrote at its end, None while it has none.
        directions: which way metrics are better, by full name, the most important first; empty where the run
            does not say.
        history: what was changed on the way.
        stages: those that began, in order; none of a run of one training.
    """

    path: Path
    recipe: Mapping[str, Any]
    recipe_text: str
    environment: Mapping[str, Any]
    curves: Mapping[str, Curve]
    result: Result | None
    directions: Mapping[str, Direction] = field(default_factory=dict)
    history: Sequence[Changed] = ()
    stages: Sequence[Stage] = ()

    @property
    def status(self) -> str:
        """``finished``, ``stopped-early``, ``failed`` or ``unfinished``."""
        return self.result.status if self.result else "unfinished"

    @property
    def complete(self) -> bool:
        """Whether the run reached its end, so that its last numbers are its final ones."""
        return self.status in COMPLETE_STATUSES

    @property
    def seed(self) -> object:
        """``trainer.seed``, or None where the recipe sets none; of the first stage where it has stages."""
        trainer = (self.stages[0].record.recipe if self.stages else self.recipe).get("trainer")
        return trainer.get("seed") if isinstance(trainer, Mapping) else None

    @property
    def steps(self) -> int:
        """Steps done as far as the directory tells."""
        if self.result and self.result.steps is not None:
            return self.result.steps
        return int(max((curve.steps[-1] for curve in self.curves.values()), default=0))

    @property
    def units(self) -> tuple[float, str] | None:
        """What it was trained on in all of its stages, a number of tokens for instance; None if not said."""
        results = [stage.record.result for stage in self.stages] if self.stages else [self.result]
        counted = [(one.units, one.unit) for one in results if one and one.units is not None and one.unit]
        names = {unit for _, unit in counted}
        if len(counted) < len(results) or len(names) != 1:
            return None
        return sum(units for units, _ in counted), names.pop()

    @property
    def ended_with(self) -> RunRecord:
        """The training that the final numbers are of: the last stage, or the run itself where it has none."""
        return self.stages[-1].record if self.stages else self

    def has(self, metric: str) -> bool:
        """Whether the run recorded the metric, on the way or at its end."""
        return metric in self.curves or (self.result is not None and metric in self.result.metrics)

    def final(self, metric: str) -> float | None:
        """The run's final value of ``metric``, or its last one so far; of its last stage alone."""
        if self.stages:
            return self.stages[-1].record.final(metric)
        if self.result and metric in self.result.metrics:
            return self.result.metrics[metric]
        curve = self.curves.get(metric)
        if curve is None:
            return None
        # A run that stopped early stands for its best step, with everything that it recorded there.
        best = self.result.best_step if self.result and self.status == "stopped-early" else None
        return curve.value_at(best) if best else curve.values[-1]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a run.

    Args:
        name: of the stage.
        record: of its own directory.
        first_step: steps that the stages before it took.
        first_second: seconds that they took.
        continues: whether its numbers go on from those of the stage before: its task and data are the same.
    """

    name: str
    record: RunRecord
    first_step: float = 0
    first_second: float = 0
    continues: bool = False


def read_run(path: Path) -> RunRecord:
    """Read one run directory, with all of its stages.

    Raises:
        GraftworkError: where ``path`` is no run directory, or one of its files is not what it should be;
            the message names the file, and the line in ``metrics.jsonl``.
    """
    path = Path(path)
    missing = [name for name in RUN_FILES if not (path / name).is_file()]
    if missing:
        absent = "it is a file" if path.exists() else "there is no such directory"
        found = f"there is no {' and no '.join(missing)}" if path.is_dir() else absent
        raise GraftworkError(
            f"{path} is not a run: expected a directory with recipe.toml, environment.json and metrics.jsonl "
            f"as `graftwork train` writes them, but {found}"
        )
    recipe_file = path / "recipe.toml"
    environment_file = path / "environment.json"
    environment = _read_object(environment_file)
    result_file = path / "result.json"
    from graftwork_trainer.report.stages import of_stages  # which is about records

    record = RunRecord(
        path=path,
        recipe=read_toml(recipe_file),
        recipe_text=read_text(recipe_file),
        environment=environment,
        curves=read_curves(path / "metrics.jsonl"),
        result=_read_result(result_file) if result_file.is_file() else None,
        directions=_directions(environment.get("metric_directions"), environment_file),
        history=read_history(path),
    )
    names = stage_names(record.recipe)
    folders = dict(zip(names, stage_folders(path, names), strict=True))
    return of_stages(
        record,
        {name: read_run(folder) for name, folder in folders.items() if (folder / "recipe.toml").is_file()},
    )


def _read_object(file: Path) -> dict[str, Any]:
    content = read_json(file)
    if not isinstance(content, dict):
        raise GraftworkError(f"{file}: expected a JSON object, found {type(content).__name__}")
    return content


def _directions(raw: object, file: Path) -> Mapping[str, Direction]:
    if raw is None:
        return {}
    if not isinstance(raw, dict) or not all(value in get_args(Direction) for value in raw.values()):
        raise GraftworkError(
            f"{file}: expected 'metric_directions' to give metrics 'lower' or 'higher', got {raw!r}"
        )
    return raw


def _read_result(file: Path) -> Result:
    content = _read_object(file)
    status = content.get("status")
    if not isinstance(status, str):
        raise GraftworkError(
            f"{file}: expected 'status' to be 'finished', 'stopped-early' or 'failed', got {status!r}"
        )

    def one(key: str) -> float | None:
        return number(content.get(key), str(file), key)

    def step(key: str) -> int | None:
        value = one(key)
        if value is not None and not math.isfinite(value):
            raise GraftworkError(f"{file}: expected a finite number for {key!r}, got {value}")
        return None if value is None else int(value)

    return Result(
        status=status,
        reason=None if content.get("reason") is None else str(content["reason"]),
        steps=step("steps"),
        metrics=_numbers(content, "metrics", file),
        parameters=one("parameters"),
        optimizer_state_bytes=one("optimizer_state_bytes"),
        step_seconds=_timing(content.get("step_seconds"), file, "step_seconds"),
        optimizer_step_seconds=_timing(content.get("optimizer_step_seconds"), file, "optimizer_step_seconds"),
        peak_memory_bytes=one("peak_memory_bytes"),
        units_per_second=one("units_per_second"),
        unit=None if content.get("unit") is None else str(content["unit"]),
        units=one("units"),
        wall_seconds=one("wall_seconds"),
        best_step=step("best_step"),
        communication=_numbers(content, "communication", file),
    )


def _numbers(content: Mapping[str, Any], key: str, file: Path) -> dict[str, float]:
    """An object of numbers, without those that are null; empty where there is none."""
    found = content.get(key) or {}
    if not isinstance(found, dict):
        raise GraftworkError(f"{file}: expected {key!r} to be an object, found {type(found).__name__}")
    read = {name: number(value, str(file), f"{key}.{name}") for name, value in found.items()}
    return {name: value for name, value in read.items() if value is not None}


def _timing(raw: object, file: Path, key: str) -> Timing | None:
    if raw is None:
        return None
    if not isinstance(raw, dict):
        raise GraftworkError(
            f"{file}: expected {key!r} to be an object with median, p10 and p90, got {raw!r}"
        )
    median, p10, p90 = (
        number(raw.get(part), str(file), f"{key}.{part}") for part in ("median", "p10", "p90")
    )
    return None if median is None else Timing(median, p10, p90)
