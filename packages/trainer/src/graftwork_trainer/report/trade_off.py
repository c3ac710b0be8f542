"""The final primary metric of every variant against the bytes of its optimizer's state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from graftwork_trainer.report.drawing import (
    Drawing,
    Exhibit,
    Plot,
    Size,
    arrange,
    logarithmic_ticks,
    new_axes,
    plain_ticks,
)
from graftwork_trainer.report.hover import Spot, placed
from graftwork_trainer.report.numerals import BYTES, number, unit_for
from graftwork_trainer.report.palette import Palette, Style, grey_alpha
from graftwork_trainer.report.point_labels import Label, bounded, room_for, write_beside
from graftwork_trainer.report.table import ResultCell, ResultRow, ResultTable
from graftwork_trainer.report.view import LOGARITHMIC_FROM


@dataclass(frozen=True, slots=True)
class _Point:
    label: str
    style: Style
    state: float
    cell: ResultCell
    mean: float
    deviation: float


@dataclass(frozen=True, slots=True)
class _Figure:
    points: Sequence[_Point]
    row: ResultRow
    scale: float
    unit: str

    def draw(self, size: Size, title: str, note: str) -> Drawing:
        figure, axes = new_axes(size)
        self._draw_grey(axes)
        for point in self._coloured():
            axes.errorbar(
                [point.state / self.scale], [point.mean], yerr=[point.deviation],
                color=point.style.line_colour, marker=point.style.marker, markersize=9, elinewidth=1.6,
                markerfacecolor=point.style.line_colour if point.cell.final else "none", linestyle="none",
            )  # fmt: skip
        means = [point.mean for point in self.points]
        logarithmic = min(means) > 0 and max(means) / min(means) > LOGARITHMIC_FROM
        axes.set_xlim(0, max(point.state for point in self.points) / self.scale * 1.06 or 1.0)
        axes.margins(y=0.2)
        plain_ticks(axes, size)
        if logarithmic:
            axes.set_yscale("log")
            logarithmic_ticks(axes)
        labels = bounded([self._label(point) for point in self._coloured()], size)
        arrange(
            figure, axes, size,
            y_title=self.row.title + (", log scale" if logarithmic else ""),
            x_title=f"optimizer state, {self.unit}", title=title, note=note,
            right=room_for(axes, labels, size, flush_from=2.0),
        )  # fmt: skip
        write_beside(axes, labels)
        return Drawing(figure, placed(axes, map(self._spot, self.points)))

    def _coloured(self) -> list[_Point]:
        return [point for point in self.points if point.style.coloured]

    def _draw_grey(self, axes: Axes) -> None:
        grey = [point for point in self.points if not point.style.coloured]
        if grey:
            states, means = [point.state / self.scale for point in grey], [point.mean for point in grey]
            axes.scatter(states, means, s=22, color=grey[0].style.line_colour, alpha=grey_alpha(len(grey)))

    def _label(self, point: _Point) -> Label:
        return Label(point.state / self.scale, point.mean, point.label, point.style.text_colour)

    def _spot(self, point: _Point) -> Spot:
        state = f"{number(point.state / self.scale)} {self.unit}"
        text = f"{point.label}: {self.row.title} {point.cell.text}, optimizer state {state}"
        return Spot(point.state / self.scale, point.mean, text)


def exhibit(table: ResultTable, palette: Palette) -> Exhibit | None:
    """The trade of quality for memory; None where there are no two states."""
    row, memory = table.primary, table.row("optimizer_state_bytes")
    if row is None or memory is None:
        return None
    points = [
        _Point(
            label, style, state.summary.mean, quality, quality.summary.mean, quality.summary.deviation or 0.0
        )
        for label, style, quality, state in zip(
            table.labels, palette.styles, row.cells, memory.cells, strict=True
        )
        if quality.summary
        and state.summary
        and math.isfinite(quality.summary.mean)
        and math.isfinite(state.summary.mean)
    ]
    points = [point for point in points if point.cell.final] or points
    states = [point.state for point in points]
    if len(points) < 2 or min(states) > 0.99 * max(states):
        return None
    scale, unit = unit_for(states, BYTES)
    better = {"lower": "Lower left is better.", "higher": "Upper left is better.", None: ""}[row.better]
    spread = "Bars: one standard deviation over seeds either way." if any(p.deviation for p in points) else ""
    note = " ".join(filter(None, (better, spread, palette.note)))
    title = f"Final {row.title} against optimizer memory"
    plot = Plot("metric-against-optimizer-memory", title, note, _Figure(points, row, scale, unit).draw)
    return Exhibit(title, (plot,), leading=True)
