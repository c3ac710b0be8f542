"""The result in one sentence, and how far it can be trusted in another; both computed from the table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from graftwork_trainer.report import metrics
from graftwork_trainer.report.numerals import interval, percent
from graftwork_trainer.report.paired import PairedDifference
from graftwork_trainer.report.rates import rates_differ, rates_text
from graftwork_trainer.report.table import ResultCell, ResultRow, ResultTable
from graftwork_trainer.report.variants import Variant

_MOST_TOLD = 3


@dataclass(frozen=True, slots=True)
class Headline:
    """A sentence with the result, and the sentences that qualify it."""

    sentence: str
    qualifier: str


@dataclass(frozen=True, slots=True)
class _Standing:
    """One variant with its value of the primary metric and, where known, its optimizer memory.

    ``rates`` are its learning rates where they are to be told.
    """

    variant: Variant
    cell: ResultCell
    memory: float | None
    rates: str

    @property
    def short(self) -> str:
        """As part of a sentence, where a comma would mislead: ``adamw (lr=0.01)``."""
        return _parenthesized(self.variant.label.split(", "))

    @property
    def label(self) -> str:
        """The same with its learning rates."""
        name, *options = self.variant.label.split(", ")
        if self.rates:
            options = [self.rates, *(option for option in options if not option.startswith("lr="))]
        return _parenthesized([name, *options])

    @property
    def converged(self) -> bool:
        return self.cell.summary is not None and math.isfinite(self.cell.summary.mean)


def write_headline(variants: Sequence[Variant], table: ResultTable) -> Headline:
    """State the result of a comparison, from the same cells that the table shows."""
    row = table.primary
    if row is None:
        return Headline(f"{_told(table.labels, ', ')}: no metric has been recorded yet.", table.not_ranked)
    differ = rates_differ(variants)
    rates = [rates_text(variant) if differ else "" for variant in variants]
    standings = [
        _Standing(*facts) for facts in zip(variants, row.cells, _memories(table), rates, strict=True)
    ]
    metric = metrics.full_title(row.key)
    ranked = [standing for standing in standings if standing.cell.final and standing.converged]
    others = [standing for standing in standings if standing not in ranked]
    named: list[_Standing] = []
    if not ranked:
        sentence = _told([_so_far(standing, metric) for standing in others], "; ")
        others = []
    elif len(ranked) == 1:
        named = ranked
        sentence = f"{ranked[0].label} reached {metric} {ranked[0].cell.text}{_steps(ranked[0].variant)}"
    elif table.not_ranked:
        told = [f"{one.label} {one.cell.text}" for one in ranked]
        sentence = f"{metric[:1].upper()}{metric[1:]}: {_told(told, '; ')}"
    else:
        sentence, named = _comparison(ranked, row, metric)
    remarks = [
        table.not_ranked,
        _about_seeds(ranked),
        *_about_order(named, variants, row, table),
        _about_others([_so_far(other, metric) for other in others]),
    ]
    return Headline(f"{sentence}.", " ".join(filter(None, remarks)))


def _comparison(ranked: Sequence[_Standing], row: ResultRow, metric: str) -> tuple[str, list[_Standing]]:
    """The best of the thriftiest variants against the best of the others; where none saves, the best two."""
    by_quality = list(ranked)
    if row.better:
        by_quality.sort(key=_mean, reverse=row.better == "higher")
    best, second = by_quality[0], by_quality[1]
    many = len(ranked) > 2 and row.better is not None
    leads = best.cell.best and not any(standing.cell.best for standing in by_quality[1:])
    thrifty, rival = _thrifty_and_rival(by_quality)
    if thrifty is None or rival is None:
        superlative = f"the best {metric} of {len(ranked)} variants," if many and leads else metric
        runner_up = f"{'next is ' if many and leads else ''}{second.label} {second.cell.text}"
        return f"{best.label} reached {superlative} {best.cell.text}; {runner_up}", [best, second]
    superlative = f"the best {metric}," if thrifty is best and leads else metric
    rank = f", the best of {len(ranked)}," if many and rival is best and leads else ""
    achieved = f"{thrifty.label} reached {superlative} {thrifty.cell.text} {_saving(thrifty, rival)}"
    return f"{achieved}; {rival.label}{rank} {rival.cell.text}", [thrifty, rival]


def _thrifty_and_rival(by_quality: Sequence[_Standing]) -> tuple[_Standing | None, _Standing | None]:
    """The best variant among those with the least optimizer memory, and the best among the others.

    None where a memory is not known, or all are equal to a percent.
    """
    memories = [standing.memory for standing in by_quality if standing.memory is not None]
    if len(memories) < len(by_quality):
        return None, None
    limit = min(memories) / 0.99
    light = [standing for standing in by_quality if _memory(standing) <= limit]
    heavy = [standing for standing in by_quality if _memory(standing) > limit]
    return (light[0], heavy[0]) if light and heavy else (None, None)


def _saving(thrifty: _Standing, rival: _Standing) -> str:
    if not thrifty.memory:
        return "without any optimizer memory"
    share = percent(_memory(thrifty) / _memory(rival))
    if " " in rival.short:
        return f"with {share} of the optimizer memory of {rival.short}"
    return f"with {share} of {rival.short}\u2019s optimizer memory"


def _so_far(standing: _Standing, metric: str) -> str:
    """What there is to say of a variant that has no final finite value."""
    variant = standing.variant
    steps = max(run.steps for run in variant.runs)
    state = {"failed": "failed", "unfinished": "is unfinished", "": "finished"}[variant.status]
    after = f"{standing.label} {state} after {steps} steps"
    if standing.cell.summary is None:
        return f"{after}, without any {metric}"
    if not standing.converged:
        return f"{after}, diverged: its {metric} is not finite"
    value = f"{metric} {standing.cell.text}"
    return f"{after}: last {value}" if variant.status == "failed" else f"{after}: {value} so far"


def _about_others(told: Sequence[str]) -> str:
    """What is said of variants that are in no ranking, a sentence each of the first, and how many more."""
    sentences = [f"{text}." for text in told[:_MOST_TOLD]]
    if (more := len(told) - _MOST_TOLD) > 0:
        sentences.append(f"{more} more have no final value.")
    return " ".join(sentences)


def _about_seeds(ranked: Sequence[_Standing]) -> str:
    counts = {standing.cell.summary.count for standing in ranked if standing.cell.summary}
    if not counts:
        return ""
    if counts == {1}:
        each = " each" if len(ranked) > 1 else ""
        return f"One seed{each}: the spread over seeds is not known."
    most = max(counts)
    if len(counts) == 1:
        return f"Mean ± standard deviation over {most} seeds{' each' if len(ranked) > 1 else ''}."
    alone = "; a number without ± comes from one seed" if 1 in counts else ""
    return f"Mean ± standard deviation over up to {most} seeds{alone}."


def _about_order(
    named: Sequence[_Standing], variants: Sequence[Variant], row: ResultRow, table: ResultTable
) -> list[str]:
    """How sure the order of the two is that the headline names: seed by seed where that is known."""
    found = _difference(named, variants, row, table)
    overlap = _about_overlap(named) if row.better else ""
    if found is None:
        return [overlap]
    first, other = sorted(named, key=lambda standing: standing.variant is not variants[0])
    told = (
        f"Seed by seed, {other.short} minus {first.short} is "
        f"{interval(found.mean, found.low, found.high)} (95 % interval, {found.count} seeds)."
    )
    if row.better and found.holds_zero:
        return [f"{told.removesuffix('.')}: their order is not settled."]
    # Differences without any spread are of too few seeds, or of runs that the seed changes nothing in.
    return [told] if found.spreads else [told, overlap]


def _difference(
    named: Sequence[_Standing], variants: Sequence[Variant], row: ResultRow, table: ResultTable
) -> PairedDifference | None:
    """Of the two, where one of them is the first variant, which all are compared with."""
    paired = table.paired_with(row)
    others = [standing.variant for standing in named if standing.variant is not variants[0]]
    if paired is None or len(named) != 2 or len(others) != 1:
        return None
    return next(found for found, variant in zip(paired.paired, variants, strict=True) if variant is others[0])


def _about_overlap(named: Sequence[_Standing]) -> str:
    if len(named) < 2:
        return ""
    first, second = (standing.cell.summary for standing in named[:2])
    if first is None or second is None or min(first.count, second.count) < 2:
        return ""
    if first.low <= second.high and second.low <= first.high:
        return f"The ranges of {named[0].short} and {named[1].short} overlap, so their order is not settled."
    return ""


def _steps(variant: Variant) -> str:
    steps = {run.steps for run in variant.counted_runs}
    return f" after {max(steps)} steps" if len(steps) == 1 else ""


def _memories(table: ResultTable) -> list[float | None]:
    row = table.row("optimizer_state_bytes")
    if row is None:
        return [None] * len(table.labels)
    return [cell.summary.mean if cell.summary else None for cell in row.cells]


def _mean(standing: _Standing) -> float:
    return standing.cell.summary.mean if standing.cell.summary else math.nan


def _memory(standing: _Standing) -> float:
    return standing.memory or 0.0


def _parenthesized(parts: Sequence[str]) -> str:
    name, *options = parts
    return f"{name} ({', '.join(options)})" if options else name


def _told(texts: Sequence[str], between: str) -> str:
    """The first few, and how many more."""
    more = len(texts) - _MOST_TOLD
    return between.join([*texts[:_MOST_TOLD], *([f"and {more} more"] if more > 0 else [])])
