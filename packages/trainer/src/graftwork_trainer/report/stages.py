"""A run of several stages as one record: their curves one after another, and where each begins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from graftwork_trainer.report.read import Curve, Result, RunRecord, Stage
from graftwork_trainer.report.variants import canonical


def of_stages(run: RunRecord, records: Mapping[str, RunRecord]) -> RunRecord:
    """A run with what its stages recorded; as it is where there are none.

    Args:
        run: what its own directory tells.
        records: of the stages that began, by name, in order.
    """
    if not records:
        return run
    stages: list[Stage] = []
    for name, record in records.items():
        before = stages[-1] if stages else None
        stages.append(
            Stage(
                name,
                record,
                first_step=before.first_step + before.record.steps if before else 0,
                first_second=before.first_second + _seconds(before.record) if before else 0.0,
                continues=before is not None and _subject(before.record) == _subject(record),
            )
        )
    return _in_place(run, stages)


def aligned(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Runs in which the same stages begin at the same place, which is that of the last of them to get there.

    A mean over seeds of which one stopped early would otherwise be over two stages at once.

    Args:
        runs: in any order; those with stages of other names are another kind.
    """
    return [
        _in_place(run, _moved(run.stages, [one.stages for one in runs])) if run.stages else run
        for run in runs
    ]


def _moved(stages: Sequence[Stage], all_stages: Sequence[Sequence[Stage]]) -> list[Stage]:
    names = [stage.name for stage in stages]
    moved = []
    for place, stage in enumerate(stages):
        alike = [
            other[place]
            for other in all_stages
            if [one.name for one in other[: place + 1]] == names[: place + 1]
        ]
        moved.append(
            replace(
                stage,
                first_step=max(one.first_step for one in alike),
                first_second=max(one.first_second for one in alike),
            )
        )
    return moved


def _in_place(run: RunRecord, stages: Sequence[Stage]) -> RunRecord:
    """A run whose curves, history and result are those of stages in their places."""
    last = stages[-1].record
    names = dict.fromkeys(name for stage in stages for name in stage.record.curves)
    directions = {name: way for stage in stages[::-1] for name, way in stage.record.directions.items()}
    return replace(
        run,
        stages=tuple(stages),
        curves={name: _joined(name, stages) for name in names},
        result=_with_costs(run.result, last.result),
        # What the last stage says of a metric goes before what others say.
        directions={**directions, **last.directions},
        history=[
            replace(change, step=int(stage.first_step) + change.step, what=f"{stage.name}: {change.what}")
            for stage in stages
            for change in stage.record.history
        ],
    )


def _joined(metric: str, stages: Sequence[Stage]) -> Curve:
    """A metric through all stages that record it, broken where the numbers are of another kind.

    A break is a point that is not a number, half way between those beside it.
    """
    points: list[tuple[float, float, float]] = []
    broken = False
    for stage in stages:
        broken = broken or not stage.continues
        curve = stage.record.curves.get(metric)
        if curve is None:
            continue
        moved = [
            (stage.first_step + step, stage.first_second + second, value)
            for step, second, value in zip(curve.steps, curve.seconds, curve.values, strict=True)
        ]
        if points and broken:
            (step, second, _), (next_step, next_second, _) = points[-1], moved[0]
            points.append(((step + next_step) / 2, (second + next_second) / 2, math.nan))
        points += moved
        broken = False
    steps, seconds, values = zip(*points, strict=True)
    return Curve(steps, seconds, values)


def _with_costs(whole: Result | None, last: Result | None) -> Result | None:
    """The result of a run, with what its last stage measured of a step, of memory and of the model."""
    if whole is None or last is None:
        return whole
    return replace(
        last, status=whole.status, reason=whole.reason, steps=whole.steps, wall_seconds=whole.wall_seconds
    )


def _subject(record: RunRecord) -> str:
    """What the numbers of a training are about: its task with every option, and facts of its data."""
    return canonical({"task": record.recipe.get("task", {}), "data": record.environment.get("data") or {}})


def _seconds(record: RunRecord) -> float:
    if record.result and record.result.wall_seconds is not None:
        return record.result.wall_seconds
    seconds = [second for curve in record.curves.values() for second in curve.seconds]
    return max((second for second in seconds if math.isfinite(second)), default=0.0)
