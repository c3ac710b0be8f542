"""A run directory as data: recipe, environment, curves and result, of all its stages where it has several.

A run that was killed is still a run: a torn last line of ``metrics.jsonl`` is dropped, and without a
``result.json`` the run counts as unfinished.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from graftwork import Direction, GraftworkError
from graftwork_trainer.history import Changed, read_history
from graftwork_trainer.plain_json import read_json
from graftwork_trainer.stage_folders import stage_folders, stage_names
from graftwork_trainer.status import COMPLETE_STATUSES


@dataclass(frozen=True, slots=True)
class Curve:
    """One metric of one run, in order of steps; ``seconds`` is nan where the run did not record it."""

    steps: tuple[float, ...]
    seconds: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds that something took, over the steps of a run."""

    median: float
    p10: float | None = None
    p90: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What a run wrote when it ended; None stands for what it did not measure."""

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
    wall_seconds: float | None = None


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
        return curve.values[-1] if curve else None


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
    missing = [name for name in ("recipe.toml", "environment.json") if not (path / name).is_file()]
    if missing:
        found = f"there is no {' and no '.join(missing)}" if path.is_dir() else "there is no such directory"
        raise GraftworkError(
            f"{path} is not a run: expected a directory with recipe.toml, environment.json and metrics.jsonl "
            f"as `graftwork train` writes them, but {found}"
        )
    recipe_file = path / "recipe.toml"
    try:
        recipe_text = recipe_file.read_text(encoding="utf-8")
        recipe = tomllib.loads(recipe_text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise GraftworkError(f"{recipe_file}: not valid TOML: {error}") from error
    environment_file = path / "environment.json"
    environment = _read_object(environment_file)
    result_file = path / "result.json"
    from graftwork_trainer.report.stages import of_stages  # which is about records

    record = RunRecord(
        path=path,
        recipe=recipe,
        recipe_text=recipe_text,
        environment=environment,
        curves=_read_curves(path / "metrics.jsonl"),
        result=_read_result(result_file) if result_file.is_file() else None,
        directions=_directions(environment.get("metric_directions"), environment_file),
        history=read_history(path),
    )
    names = stage_names(recipe)
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


def _read_curves(file: Path) -> dict[str, Curve]:
    """Collect the curves; of a step that was logged twice, as after a resume, the later line counts."""
    if not file.is_file():
        return {}
    points: dict[str, dict[float, tuple[float, float]]] = {}
    lines = [(number, line) for number, line in enumerate(file.read_bytes().split(b"\n"), 1) if line.strip()]
    for number, line in lines:
        try:
            entry = json.loads(line)
        except ValueError as error:
            if number == lines[-1][0]:
                break
            raise GraftworkError(f"{file}, line {number}: not valid JSON: {error}") from error
        where = f"{file}, line {number}"
        if not isinstance(entry, dict):
            raise GraftworkError(f"{where}: expected a JSON object, found {type(entry).__name__}")
        step = _number(entry.get("step"), where, "step")
        if step is None:
            raise GraftworkError(f"{where}: expected the key 'step' with a number")
        seconds = _number(entry.get("seconds"), where, "seconds")
        for name, raw in entry.items():
            if "/" in name and (value := _number(raw, where, name)) is not None:
                points.setdefault(name, {})[step] = (math.nan if seconds is None else seconds, value)
    return {name: _curve(of_step) for name, of_step in points.items()}


def _curve(of_step: Mapping[float, tuple[float, float]]) -> Curve:
    steps = tuple(sorted(of_step))
    return Curve(steps, tuple(of_step[s][0] for s in steps), tuple(of_step[s][1] for s in steps))


def _read_result(file: Path) -> Result:
    content = _read_object(file)
    status = content.get("status")
    if not isinstance(status, str):
        raise GraftworkError(
            f"{file}: expected 'status' to be 'finished', 'stopped-early' or 'failed', got {status!r}"
        )
    metrics = content.get("metrics") or {}
    if not isinstance(metrics, dict):
        raise GraftworkError(f"{file}: expected 'metrics' to be an object, found {type(metrics).__name__}")

    def number(key: str) -> float | None:
        return _number(content.get(key), str(file), key)

    finals = {name: _number(value, str(file), f"metrics.{name}") for name, value in metrics.items()}
    steps = number("steps")
    return Result(
        status=status,
        reason=None if content.get("reason") is None else str(content["reason"]),
        steps=None if steps is None else int(steps),
        metrics={name: value for name, value in finals.items() if value is not None},
        parameters=number("parameters"),
        optimizer_state_bytes=number("optimizer_state_bytes"),
        step_seconds=_timing(content.get("step_seconds"), file, "step_seconds"),
        optimizer_step_seconds=_timing(content.get("optimizer_step_seconds"), file, "optimizer_step_seconds"),
        peak_memory_bytes=number("peak_memory_bytes"),
        units_per_second=number("units_per_second"),
        unit=None if content.get("unit") is None else str(content["unit"]),
        wall_seconds=number("wall_seconds"),
    )


def _timing(raw: object, file: Path, key: str) -> Timing | None:
    if raw is None:
        return None
    if not isinstance(raw, dict):
        raise GraftworkError(
            f"{file}: expected {key!r} to be an object with median, p10 and p90, got {raw!r}"
        )
    median, p10, p90 = (
        _number(raw.get(part), str(file), f"{key}.{part}") for part in ("median", "p10", "p90")
    )
    return None if median is None else Timing(median, p10, p90)


def _number(raw: object, where: str, key: str) -> float | None:
    """A number as float, None where JSON has null or nothing; anything else is a mistake in the file."""
    if raw is None:
        return None
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise GraftworkError(f"{where}: expected a number for {key!r}, got {raw!r}")
    return float(raw)
