"""The table of final metrics and costs: built once, shown in the terminal and on the page.

A cell is a mean over the seeds that ran to their end. While a variant has none, it shows its values so far
and is left out of the choice of the best. None is the best where the variants have no common ground, where
its range and another's, from the 10th to the 90th percentile, overlap, or where the interval of its
difference to another, seed by seed, holds 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from graftwork import Direction
from graftwork_trainer.report import metrics
from graftwork_trainer.report.aggregate import Summary, summarize
from graftwork_trainer.report.directions import Directions, agreed_directions
from graftwork_trainer.report.grounds import why_not_ranked
from graftwork_trainer.report.measures import COMMUNICATION, COST, Measure, Range, measures_of
from graftwork_trainer.report.numerals import decimals_of, interval, mean_and_deviation, number, unit_for
from graftwork_trainer.report.paired import PairedDifference, paired_difference
from graftwork_trainer.report.read import RunRecord
from graftwork_trainer.report.variants import Variant

NOTHING = "-"
_UNSEEN = ("validation", "test")


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

    ``better`` is None where no direction is known, and then no cell is the best. ``paired`` are differences
    to the first variant, with their intervals, in the metric of the row above.
    """

    key: str
    title: str
    unit: str
    section: str
    better: Direction | None
    cells: tuple[ResultCell, ...]
    paired: tuple[PairedDifference | None, ...] = ()

    @property
    def heading(self) -> str:
        """Title and unit in one."""
        return f"{self.title}, {self.unit}" if self.unit else self.title


@dataclass(frozen=True, slots=True)
class ResultTable:
    """Rows of quantities, columns of variants; the most important metric first.

    ``not_ranked`` is one sentence on why no variant is better than another, empty where they can be compared.
    """

    labels: tuple[str, ...]
    progress: tuple[str, ...]
    rows: tuple[ResultRow, ...]
    directions: Directions
    not_ranked: str = ""

    @property
    def primary(self) -> ResultRow | None:
        """The metric that a headline should be about."""
        return next((row for row in self.rows if row.section not in (COMMUNICATION, COST)), None)

    def row(self, key: str) -> ResultRow | None:
        """The row of one metric or cost by its key."""
        return next((row for row in self.rows if row.key == key), None)

    def paired_with(self, row: ResultRow) -> ResultRow | None:
        """The differences in a metric, seed by seed, where there are any."""
        return self.row(_difference_key(row.key))

    @property
    def paired_note(self) -> str:
        """What the rows of differences are, for a reader; empty where there are none."""
        if not any(row.paired for row in self.rows):
            return ""
        return "in brackets: 95 % interval of the mean difference between runs of the same seed"


def build_table(variants: Sequence[Variant]) -> ResultTable:
    """Build the one table that every rendering shows."""
    runs = [run for variant in variants for run in variant.runs]
    directions = agreed_directions(runs)
    not_ranked = why_not_ranked(variants)
    rows: list[ResultRow] = []
    for metric in final_metrics(variants, directions):
        row = _metric_row(metric, variants, directions)
        rows.append(row)
        if row.better and not not_ranked and metrics.group(metric) in _UNSEEN:
            rows += _difference_row(metric, variants)
    rows += [_cost_row(measure, variants) for measure in measures_of(runs)]
    if not_ranked:
        rows = [replace(row, cells=tuple(replace(cell, best=False) for cell in row.cells)) for row in rows]
    return ResultTable(
        labels=tuple(variant.label for variant in variants),
        progress=tuple(map(_progress, variants)),
        rows=tuple(row for row in rows if any(cell.summary for cell in row.cells)),
        directions=directions,
        not_ranked=not_ranked,
    )


def final_metrics(variants: Sequence[Variant], directions: Directions) -> list[str]:
    """The metrics that have a final value, the most important first, those of one group together.

    Training metrics count only where they have a direction, or where there is no other.
    """
    runs = [run for variant in variants for run in variant.runs]
    named = {name for run in runs for name in (*run.curves, *(run.result.metrics if run.result else ()))}
    telling = {name for name in named if metrics.group(name) != "train" or name in directions.better}
    arranged = directions.arrange(telling or named)
    groups = list(dict.fromkeys(map(metrics.group, arranged)))
    return sorted(arranged, key=lambda name: groups.index(metrics.group(name)))


def _metric_row(metric: str, variants: Sequence[Variant], directions: Directions) -> ResultRow:
    measure = Measure(metric, metrics.title(metric), metrics.group(metric) or "metrics", _final(metric))
    better = directions.better.get(metric)
    cells = _best_marked(_cells(variants, measure, 1.0), variants, measure, better)
    if _order_is_open(metric, variants, cells):
        cells = tuple(replace(cell, best=False) for cell in cells)
    return ResultRow(metric, measure.title, "", measure.section, better, cells)


def _order_is_open(metric: str, variants: Sequence[Variant], cells: Sequence[ResultCell]) -> bool:
    """Whether, seed by seed, the best may as well be no better than another."""
    values = [_by_seed(metric, variant) for variant in variants]
    found = [
        paired_difference(values[place], values[best])
        for best, cell in enumerate(cells)
        for place in range(len(cells))
        if cell.best and not cells[place].best
    ]
    return any(one.holds_zero for one in found if one)


def _final(metric: str) -> Callable[[RunRecord], float | None]:
    return lambda run: run.final(metric)


def _difference_row(metric: str, variants: Sequence[Variant]) -> list[ResultRow]:
    """By how much each variant differs from the first; nothing where no two of them share seeds."""
    first, *others = (_by_seed(metric, variant) for variant in variants)
    paired = [None, *(paired_difference(own, first) for own in others)]
    counts = {one.count for one in paired if one}
    if not counts:
        return []
    agreed = f" ({counts.pop()} seeds)" if len(counts) == 1 else ""
    cells = [
        ResultCell(NOTHING, None, final=True)
        if one is None
        else ResultCell(
            interval(one.mean, one.low, one.high) + ("" if agreed else f", {one.count} seeds"),
            Summary(one.mean, one.deviation, one.low, one.high, one.count),
            final=True,
        )
        for one in paired
    ]
    title = f"minus {variants[0].label}{agreed}"
    section = metrics.group(metric)
    return [ResultRow(_difference_key(metric), title, "", section, None, tuple(cells), tuple(paired))]


def _difference_key(metric: str) -> str:
    return f"{metric}, paired difference"


def _by_seed(metric: str, variant: Variant) -> Mapping[str, float]:
    """The final values of complete runs by seed, their mean where several share one."""
    values: dict[str, list[float]] = {}
    for run in variant.complete_runs:
        if run.seed is not None and (value := run.final(metric)) is not None:
            values.setdefault(str(run.seed), []).append(value)
    return {seed: summarize(of_seed).mean for seed, of_seed in values.items()}


def _cost_row(measure: Measure, variants: Sequence[Variant]) -> ResultRow:
    values = [value for variant in variants for value in _measured(variant, measure)]
    size, unit = unit_for(values, measure.units)
    cells = _best_marked(_cells(variants, measure, size), variants, measure, measure.better)
    largest = max((cell.summary.mean for cell in cells if cell.summary), default=0.0)
    if largest > 0 and sum(cell.summary is not None for cell in cells) > 1:
        cells = tuple(
            replace(cell, share=cell.summary.mean / largest) if cell.summary else cell for cell in cells
        )
    return ResultRow(measure.key, measure.title, unit, measure.section, measure.better, cells)


def _measured(variant: Variant, measure: Measure) -> list[float]:
    return [value for run in variant.counted_runs if (value := measure.value(run)) is not None]


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
        exact = one.deviation == 0 and measure.counted
        text = number(one.mean) if exact else mean_and_deviation(one, row_decimals)
        cells.append(ResultCell(text, summarize(values), bool(variant.complete_runs)))
    return cells


def _best_marked(
    cells: Sequence[ResultCell], variants: Sequence[Variant], measure: Measure, better: Direction | None
) -> tuple[ResultCell, ...]:
    """Mark the best final cell, and those that read the same; none where another's range reaches into its.

    Numbers without a range, of one seed, that read the same are equally good.
    """
    rivals = {
        place: cell.summary.mean
        for place, cell in enumerate(cells)
        if cell.final and cell.summary and math.isfinite(cell.summary.mean)
    }
    if better is None or len(rivals) < 2:
        return tuple(cells)
    best = (min if better == "lower" else max)(rivals, key=rivals.__getitem__)
    ranges = {place: _range(variants[place], measure) for place in rivals}
    leading = {
        place
        for place in rivals
        if place == best or (cells[place].text == cells[best].text and _is_point(ranges[place]))
    }
    others = set(rivals) - leading
    if not others or any(_overlap(ranges[best], ranges[other]) for other in others):
        return tuple(cells)
    return tuple(replace(cell, best=place in leading) for place, cell in enumerate(cells))


def _range(variant: Variant, measure: Measure) -> Range | None:
    """From the 10th to the 90th percentile: within runs, where these have one, and over them."""
    runs = variant.counted_runs
    if measure.spread is not None and (within := [one for run in runs if (one := measure.spread(run))]):
        lows, highs = zip(*within, strict=True)
        return float(np.quantile(lows, 0.1)), float(np.quantile(highs, 0.9))
    values = _measured(variant, measure)
    if measure.noisy and len(values) < 2:
        return None
    # Outwards: between two of a few seeds would be within what was seen.
    return (
        float(np.quantile(values, 0.1, method="lower")),
        float(np.quantile(values, 0.9, method="higher")),
    )


def _is_point(found: Range | None) -> bool:
    return found is not None and found[0] == found[1]


def _overlap(one: Range | None, other: Range | None) -> bool:
    return one is None or other is None or (one[0] <= other[1] and other[0] <= one[1])


def _progress(variant: Variant) -> str:
    """How many seeds the means are over: ``3 seeds``, ``2 of 3 seeds``, or why there is none yet."""
    complete, total = len(variant.complete_runs), len(variant.runs)
    if not complete:
        return variant.status
    of_total = f"{complete} of {total}" if complete < total else f"{total}"
    return f"{of_total} seed{'s' if total > 1 else ''}"
