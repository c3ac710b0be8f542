"""The table of final metrics and costs: built once, shown in the terminal and on the page.

A cell is a mean over the seeds that ran to their end. While a variant has none, it shows its values so far
and is left out of the choice of the best.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from graftwork import Direction
from graftwork_trainer.report import metrics
from graftwork_trainer.report.aggregate import Summary, summarize
from graftwork_trainer.report.directions import Directions, agreed_directions
from graftwork_trainer.report.numerals import (
    BYTES,
    LONG_TIMES,
    SHORT_TIMES,
    decimals_of,
    mean_and_deviation,
    number,
    unit_for,
)
from graftwork_trainer.report.read import RunRecord
from graftwork_trainer.report.variants import Variant

Measure = Callable[[RunRecord], float | None]
Units = tuple[tuple[float, str], ...]
NOTHING = "-"


@dataclass(frozen=True, slots=True)
class ResultCell:
    """One quantity of one variant.

    Args:
        text: the number as both renderings show it, ``-`` where nothing was measured.
        summary: the number itself, in base units, None where nothing was measured.
        final: whether it comes from runs that reached their end.
        best: whether it is the best of its row.
        share: of the largest value in its row, for a bar; None where a bar would say nothing.
    """

    text: str
    summary: Summary | None
    final: bool
    best: bool = False
    share: float | None = None


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One quantity over all variants; ``section`` is ``validation``, ``cost`` or the like.

    ``better`` is None where no direction is known, and then no cell is the best.
    """

    key: str
    title: str
    unit: str
    section: str
    better: Direction | None
    cells: tuple[ResultCell, ...]

    @property
    def heading(self) -> str:
        """Title and unit in one."""
        return f"{self.title}, {self.unit}" if self.unit else self.title


@dataclass(frozen=True, slots=True)
class ResultTable:
    """Rows of quantities, columns of variants; the most important metric first."""

    labels: tuple[str, ...]
    progress: tuple[str, ...]
    rows: tuple[ResultRow, ...]
    directions: Directions

    @property
    def primary(self) -> ResultRow | None:
        """The metric that a headline should be about."""
        return next((row for row in self.rows if row.section != "cost"), None)

    def row(self, key: str) -> ResultRow | None:
        """The row of one metric or cost by its key."""
        return next((row for row in self.rows if row.key == key), None)


def build_table(variants: Sequence[Variant]) -> ResultTable:
    """Build the one table that every rendering shows."""
    directions = agreed_directions(run for variant in variants for run in variant.runs)
    rows = [_metric_row(metric, variants, directions) for metric in final_metrics(variants, directions)]
    per_second = ((1.0, f"{_counted_unit(variants)}/s"),)
    rows += [
        _cost_row("optimizer_state_bytes", "optimizer state", variants, _optimizer_state, BYTES, "lower"),
        _cost_row("peak_memory_bytes", "peak memory", variants, _peak_memory, BYTES, "lower"),
        _cost_row("step_seconds", "step time", variants, _step_time, SHORT_TIMES, "lower"),
        _cost_row(
            "optimizer_step_seconds", "optimizer step", variants, _optimizer_time, SHORT_TIMES, "lower"
        ),
        _cost_row("units_per_second", "throughput", variants, _throughput, per_second, "higher"),
        _cost_row("wall_seconds", "wall time", variants, _wall_time, LONG_TIMES, "lower"),
    ]
    if len({_parameters(run) for variant in variants for run in variant.runs} - {None}) > 1:
        rows.append(_cost_row("parameters", "parameters", variants, _parameters, ((1.0, ""),), None))
    return ResultTable(
        labels=tuple(variant.label for variant in variants),
        progress=tuple(map(_progress, variants)),
        rows=tuple(row for row in rows if any(cell.summary for cell in row.cells)),
        directions=directions,
    )


def final_metrics(variants: Sequence[Variant], directions: Directions) -> list[str]:
    """The metrics that have a final value, the most important first, those of one group together.

    Training metrics count only where they have a direction, or where there is no other.
    """
    runs = [run for variant in variants for run in variant.runs]
    named = {name for run in runs if run.result for name in run.result.metrics}
    named |= {name for run in runs for name in run.curves if metrics.group(name) != "train"}
    if not named:
        named = {name for run in runs for name in run.curves}
    telling = {name for name in named if metrics.group(name) != "train" or name in directions.better}
    arranged = directions.arrange(telling or named)
    groups = list(dict.fromkeys(map(metrics.group, arranged)))
    return sorted(arranged, key=lambda name: groups.index(metrics.group(name)))


def _metric_row(metric: str, variants: Sequence[Variant], directions: Directions) -> ResultRow:
    cells = _cells(variants, lambda run: run.final(metric), 1.0)
    better = directions.better.get(metric)
    section = metrics.group(metric) or "metrics"
    return ResultRow(metric, metrics.title(metric), "", section, better, _best_marked(cells, better))


def _cost_row(
    key: str,
    title: str,
    variants: Sequence[Variant],
    measure: Measure,
    units: Units,
    better: Direction | None,
) -> ResultRow:
    size, unit = unit_for([value for variant in variants for value in _measured(variant, measure)], units)
    cells = _best_marked(_cells(variants, measure, size), better)
    largest = max((cell.summary.mean for cell in cells if cell.summary), default=0.0)
    if largest > 0:
        cells = tuple(
            replace(cell, share=cell.summary.mean / largest) if cell.summary else cell for cell in cells
        )
    return ResultRow(key, title, unit, "cost", better, cells)


def _measured(variant: Variant, measure: Measure) -> list[float]:
    return [value for run in variant.counted_runs if (value := measure(run)) is not None]


def _cells(variants: Sequence[Variant], measure: Measure, unit_size: float) -> list[ResultCell]:
    measured = [_measured(variant, measure) for variant in variants]
    shown = [summarize([value / unit_size for value in values]) if values else None for values in measured]
    supported = [decimals for one in shown if one and (decimals := decimals_of(one)) is not None]
    row_decimals = max(supported, default=None)
    cells = []
    for variant, values, one in zip(variants, measured, shown, strict=True):
        if one is None:
            cells.append(ResultCell(NOTHING, None, bool(variant.complete_runs)))
            continue
        exact = one.deviation == 0 and measure in _COUNTED
        text = number(one.mean) if exact else mean_and_deviation(one, row_decimals)
        cells.append(ResultCell(text, summarize(values), bool(variant.complete_runs)))
    return cells


def _best_marked(cells: Sequence[ResultCell], better: Direction | None) -> tuple[ResultCell, ...]:
    """Mark the best final cell, and those that read the same; none where all of them do."""
    rivals = [cell for cell in cells if cell.final and cell.summary and math.isfinite(cell.summary.mean)]
    if better is None or len(rivals) < 2:
        return tuple(cells)
    means = {id(cell): cell.summary.mean for cell in rivals if cell.summary}
    choose = min if better == "lower" else max
    best_mean = choose(means.values())
    best_texts = {cell.text for cell in rivals if means[id(cell)] == best_mean}
    if all(cell.text in best_texts for cell in rivals):
        return tuple(cells)
    return tuple(replace(cell, best=id(cell) in means and cell.text in best_texts) for cell in cells)


def _progress(variant: Variant) -> str:
    """How many seeds the means are over: ``3 seeds``, ``2 of 3 seeds``, or why there is none yet."""
    complete, total = len(variant.complete_runs), len(variant.runs)
    if not complete:
        return variant.status
    of_total = f"{complete} of {total}" if complete < total else f"{total}"
    return f"{of_total} seed{'s' if total > 1 else ''}"


def _counted_unit(variants: Sequence[Variant]) -> str:
    units = {
        run.result.unit for variant in variants for run in variant.runs if run.result and run.result.unit
    }
    return units.pop() if len(units) == 1 else "units"


def _optimizer_state(run: RunRecord) -> float | None:
    return run.result.optimizer_state_bytes if run.result else None


def _peak_memory(run: RunRecord) -> float | None:
    return run.result.peak_memory_bytes if run.result else None


def _step_time(run: RunRecord) -> float | None:
    return run.result.step_seconds.median if run.result and run.result.step_seconds else None


def _optimizer_time(run: RunRecord) -> float | None:
    timing = run.result.optimizer_step_seconds if run.result else None
    return timing.median if timing else None


def _throughput(run: RunRecord) -> float | None:
    return run.result.units_per_second if run.result else None


def _wall_time(run: RunRecord) -> float | None:
    return run.result.wall_seconds if run.result else None


def _parameters(run: RunRecord) -> float | None:
    return run.result.parameters if run.result else None


_COUNTED: tuple[Measure, ...] = (_optimizer_state, _parameters)
