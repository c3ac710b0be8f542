"""What a run's stages are and what each reached, as a table of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from graftwork_trainer import page
from graftwork_trainer.report import metrics
from graftwork_trainer.report.aggregate import summarize
from graftwork_trainer.report.directions import agreed_directions
from graftwork_trainer.report.numerals import LONG_TIMES, mean_and_deviation, number, unit_for
from graftwork_trainer.report.read import RunRecord
from graftwork_trainer.report.recipe_keys import UNSET, canonical, flatten, value_text
from graftwork_trainer.report.table import NOTHING, final_metrics
from graftwork_trainer.report.variants import Variant

_HEADINGS = ("stage", "with", "steps", "wall time", "at its end")
_FIRST = ("task.name", "model.name", "optimizer.name", "trainer.name")


def stage_tables(variants: Sequence[Variant]) -> list[page.Table]:
    """A table for every variant whose runs have stages; its numbers are means over seeds."""
    return [_table(variant) for variant in variants if any(run.stages for run in variant.runs)]


def _table(variant: Variant) -> page.Table:
    longest = max((run.stages for run in variant.counted_runs), key=len)
    rows = []
    before: Mapping[str, Any] = {}
    for place, stage in enumerate(longest):
        of_seeds = [run.stages[place].record for run in variant.counted_runs if len(run.stages) > place]
        recipe = flatten(stage.record.recipe)
        rows.append(
            [
                page.Cell(stage.name, f"{place} {stage.name}"),
                _lines(_changes(before, recipe)),
                _steps(of_seeds),
                _wall_time(of_seeds),
                _lines(_finals(of_seeds)),
            ]
        )
        before = recipe
    return page.Table(f"Stages of {variant.label}", _HEADINGS, rows)


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is another than in the stage before; of a component that is, not what follows from its name."""
    if not before:
        return [f"{key.removesuffix('.name')} = {value_text(now[key])}" for key in _FIRST if key in now]
    keys = [key for key in {**before, **now} if _text(before, key) != _text(now, key)]
    renamed = tuple(key.removesuffix("name") for key in keys if key.endswith(".name"))
    told = [key for key in keys if key.endswith(".name") or not key.startswith(renamed or ("\0",))]
    return [f"{key.removesuffix('.name')} = {value_text(now.get(key, UNSET))}" for key in told] or [
        "the same"
    ]


def _text(recipe: Mapping[str, Any], key: str) -> str | None:
    return canonical(recipe[key]) if key in recipe else None


def _steps(records: Sequence[RunRecord]) -> page.Cell:
    steps = [record.steps for record in records]
    told = f"{min(steps):,}" + (f" to {max(steps):,}" if max(steps) > min(steps) else "")
    statuses = {record.status for record in records} - {"finished"}
    return page.Cell(", ".join([told, *sorted(statuses)]), float(max(steps)))


def _wall_time(records: Sequence[RunRecord]) -> page.Cell:
    seconds = [one.result.wall_seconds for one in records if one.result and one.result.wall_seconds]
    if not seconds:
        return page.Cell(NOTHING, None)
    mean = summarize(seconds).mean
    size, unit = unit_for([mean], LONG_TIMES)
    return page.Cell(f"{number(mean / size)} {unit}", mean)


def _finals(records: Sequence[RunRecord]) -> list[str]:
    """The metrics of its last evaluation."""
    directions = agreed_directions(records)
    told = []
    for metric in final_metrics([Variant("", tuple(records))], directions):
        values = [value for record in records if (value := record.final(metric)) is not None]
        if values and metrics.group(metric) != "train":
            told.append(f"{metrics.title(metric)} {mean_and_deviation(summarize(values))}")
    return told or [NOTHING]


def _lines(texts: Sequence[str]) -> page.Cell:
    return page.Cell(Markup("<br>").join(texts), texts[0])
