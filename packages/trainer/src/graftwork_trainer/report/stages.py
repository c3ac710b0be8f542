"""A run of several stages as one record: their curves one after another, and where each begins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from graftwork_trainer.report.curve_file import Curve
from graftwork_trainer.report.read import Result, RunRecord, Stage
from graftwork_trainer.report.recipe_keys import canonical
from graftwork_trainer.report.variants import Variant


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


def aligned(variants: Sequence[Variant]) -> list[Variant]:
    """Variants in which the same stages begin at the same place, which is that of the last run to get there.

    A mean over seeds of which one stopped early would otherwise be over two stages at once. Steps are aligned
    over all variants, so that one mark is for all of them, and seconds within each, as they are its cost.

    Args:
        variants: in any order; those with stages of other names are another kind.
    """
    everything = [run.stages for variant in variants for run in variant.runs]
    return [
        replace(
            variant,
            runs=tuple(_moved(run, everything, variant) if run.stages else run for run in variant.runs),
        )
        for variant in variants
    ]


def _moved(run: RunRecord, everything: Sequence[Sequence[Stage]], variant: Variant) -> RunRecord:
    own = [one.stages for one in variant.runs]
    stages = []
    for place, stage in enumerate(run.stages):
        names = [one.name for one in run.stages[: place + 1]]
        first_step = max(one.first_step for one in _alike(names, everything))
        first_second = max(one.first_second for one in _alike(names, own))
        stages.append(replace(stage, first_step=first_step, first_second=first_second))
    return _in_place(run, stages)


def _alike(names: Sequence[str], runs: Sequence[Sequence[Stage]]) -> list[Stage]:
    """The last of some stages, in all runs that have them."""
    count = len(names)
    return [stages[count - 1] for stages in runs if [stage.name for stage in stages[:count]] == names]


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
    points: list[tuple[float, ...]] = []
    broken = False
    for stage in stages:
        broken = broken or not stage.continues
        curve = stage.record.curves.get(metric)
        if curve is None:
            continue
        moved = [
            (stage.first_step + step, stage.first_second + second, *values)
            for step, second, *values in zip(
                curve.steps,
                curve.seconds,
                curve.values,
                curve.lowest or curve.values,
                curve.highest or curve.values,
                strict=True,
            )
        ]
        if points and broken:
            (step, second, *_), (next_step, next_second, *_) = points[-1], moved[0]
            points.append(((step + next_step) / 2, (second + next_second) / 2, *[math.nan] * 3))
        points += moved
        broken = False
    steps, seconds, values, lowest, highest = zip(*points, strict=True)
    gathered = any(stage.record.curves[metric].lowest for stage in stages if metric in stage.record.curves)
    return Curve(steps, seconds, values, lowest if gathered else (), highest if gathered else ())


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
