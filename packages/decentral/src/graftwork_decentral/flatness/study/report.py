"""Means and spreads over seeds: a CSV, a table for the terminal, measured orderings beside predicted ones."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from graftwork_decentral.flatness.study.cells import CENTRALIZED
from graftwork_decentral.flatness.study.rows import Row, write_csv

_COLUMNS = (
    ("train_loss_agents", "loss"),
    ("risk_over_start_agents", "over start"),
    ("excess_risk_agents", "excess risk"),
    ("excess_risk_centroid", "of centroid"),
    ("predicted_excess_risk", "predicted"),
    ("disagreement_risk", "apart"),
    ("predicted_disagreement_risk", "predicted"),
    ("bottom_loss", "bottom"),
    ("bottom_hessian_trace", "trace there"),
    ("bottom_top_eigenvalue", "top eig."),
    ("validation_accuracy", "accuracy"),
    ("validation_mean_agent_accuracy", "of agents"),
    ("validation_worst_agent_accuracy", "of worst"),
)
_NOTE = """\
excess risk, and its centroid's: training loss above the bottom, where a noiseless descent from the centroid
ends. apart: what disagreement costs, Tr(HS)/2. predicted: the quadratic model at the bottom, after as many
steps; a run from random weights is above it while it still descends. Flatness is comparable where bottoms
are. Whether decentralized training ends flatter or more accurate, small networks do not settle.\
"""


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of one method, graph and batch size.

    Args:
        method: of all.
        graph: of all.
        gap: of the graph.
        batch_size: of all.
        rows: one a seed, finished ones only.
        diverged: how many others there are.
    """

    method: str
    graph: str
    gap: float | None
    batch_size: int
    rows: tuple[Row, ...]
    diverged: int

    def mean(self, measure: str) -> float | None:
        """Over seeds; none where no row has it."""
        values = self._values(measure)
        return fmean(values) if values else None

    def spread(self, measure: str) -> float | None:
        """The standard deviation over seeds; none of fewer than two."""
        values = self._values(measure)
        return stdev(values) if len(values) > 1 else None

    def _values(self, measure: str) -> list[float]:
        return [row.measures[measure] for row in self.rows if measure in row.measures]


def groups_of(rows: Sequence[Row]) -> list[Group]:
    """Return rows together that differ in their seed alone, in the order of their first."""
    found: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        found.setdefault((row.method, row.graph, row.batch_size), []).append(row)
    return [
        Group(
            method,
            graph,
            own[0].gap,
            batch_size,
            tuple(row for row in own if row.status == "finished"),
            sum(row.status == "diverged" for row in own),
        )
        for (method, graph, batch_size), own in found.items()
    ]


def write_report(rows: Sequence[Row], output: Path) -> str:
    """Write ``summary.csv`` and, where matplotlib is installed and there is what it shows, ``flatness.png``.

    Args:
        rows: of a study.
        output: the folder.

    Returns:
        The table and the orderings, for a terminal.
    """
    groups = groups_of(rows)
    measures = list(dict.fromkeys(name for row in rows for name in row.measures))
    heading = ["method", "graph", "gap", "batch_size", "seeds", "diverged"]
    table: list[list[object]] = [
        [*heading, *(f"{name}_{of}" for name in measures for of in ("mean", "spread"))]
    ]
    for group in groups:
        facts = [group.method, group.graph, group.gap, group.batch_size, len(group.rows), group.diverged]
        values = [value for name in measures for value in (group.mean(name), group.spread(name))]
        table.append([*facts, *values])
    write_csv(table, output / "summary.csv")
    if importlib.util.find_spec("matplotlib") is not None:
        from graftwork_decentral.flatness.study.figure import draw_flatness

        draw_flatness(groups, output / "flatness.png")
    return "\n".join([*_table(groups), "", *orderings(groups), "", _NOTE])


def orderings(groups: Sequence[Group]) -> list[str]:
    """Return for every graph and batch size how methods are ordered by excess risk, and should be."""
    lines = []
    cells = dict.fromkeys((group.graph, group.batch_size) for group in groups if group.method != CENTRALIZED)
    for graph, batch_size in cells:
        compared = [
            group
            for group in groups
            if group.batch_size == batch_size and (group.graph == graph or group.method == CENTRALIZED)
        ]
        for measure, what in (
            ("excess_risk_agents", "excess risk"),
            ("predicted_excess_risk", "predicted"),
            ("risk_over_start_agents", "risk over the start"),
        ):
            known = {group.method: group.mean(measure) for group in compared}
            values = {method: value for method, value in known.items() if value is not None}
            if len(values) > 1:
                ordered = sorted(values, key=lambda method: values[method])
                words = " < ".join(f"{method} {values[method]:.3g}" for method in ordered)
                lines.append(f"{graph}, batch {batch_size}, {what}: {words}")
    return lines


def _table(groups: Sequence[Group]) -> list[str]:
    shown = [
        (name, title) for name, title in _COLUMNS if any(group.mean(name) is not None for group in groups)
    ]
    lines = [["method", "graph", "gap", "batch", "seeds", *(title for _, title in shown)]]
    for group in groups:
        seeds = f"{len(group.rows)}" + (f" ({group.diverged} diverged)" if group.diverged else "")
        gap = "" if group.gap is None else f"{group.gap:.3g}"
        values = [_with_spread(group.mean(name), group.spread(name)) for name, _ in shown]
        lines.append([group.method, group.graph, gap, str(group.batch_size), seeds, *values])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def _with_spread(mean: float | None, spread: float | None) -> str:
    if mean is None:
        return ""
    return f"{mean:.3g}" if spread is None else f"{mean:.3g} ±{spread:.1g}"
