"""Means and spreads over seeds: a CSV, a table for the terminal, measured orderings beside predicted ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from graftwork_decentral.flatness.study.cells import CENTRALIZED
from graftwork_decentral.flatness.study.figure import draw_flatness
from graftwork_decentral.flatness.study.groups import SeedGroup, groups_of
from graftwork_decentral.flatness.study.rows import Row
from graftwork_trainer.tables import write_csv

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


def write_report(rows: Sequence[Row], output: Path) -> str:
    """Write ``summary.csv`` and, where there is what it shows, ``flatness.png``.

    Args:
        rows: of a study.
        output: the folder.

    Returns:
        The table and the orderings, for a terminal.
    """
    groups = groups_of(rows)
    measures = list(dict.fromkeys(name for row in rows for name in row.measures))
    facts = ["method", "graph", "gap", "batch_size", "seeds", "diverged"]
    heading = [*facts, *(f"{name}_{of}" for name in measures for of in ("mean", "spread"))]
    rows_of_groups = (
        [
            *(group.method, group.graph, group.gap, group.batch_size, len(group.rows), group.diverged),
            *(value for name in measures for value in (group.mean(name), group.spread(name))),
        ]
        for group in groups
    )
    write_csv(output / "summary.csv", heading, rows_of_groups)
    draw_flatness(groups, output / "flatness.png")
    return "\n".join([*_table(groups), "", *orderings(groups), "", _NOTE])


def orderings(groups: Sequence[SeedGroup]) -> list[str]:
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


def _table(groups: Sequence[SeedGroup]) -> list[str]:
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
