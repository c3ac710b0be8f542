"""Rows of one method, graph and batch size together: means and spreads over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from graftwork_decentral.flatness.study.rows import Row


@dataclass(frozen=True, slots=True)
class SeedGroup:
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


def groups_of(rows: Sequence[Row]) -> list[SeedGroup]:
    """Return rows together that differ in their seed alone, in the order of their first."""
    found: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        found.setdefault((row.method, row.graph, row.batch_size), []).append(row)
    return [
        SeedGroup(
            method,
            graph,
            own[0].gap,
            batch_size,
            tuple(row for row in own if row.status == "finished"),
            sum(row.status == "diverged" for row in own),
        )
        for (method, graph, batch_size), own in found.items()
    ]
