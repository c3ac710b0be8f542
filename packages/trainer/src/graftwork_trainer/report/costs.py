"""What a result costs: the final metric against optimizer memory, and the time of a step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from graftwork_trainer.report.aggregate import summarize
from graftwork_trainer.report.drawing import (
    FONT_SIZE,
    INK,
    LOGARITHMIC_FROM,
    MUTED,
    Label,
    Plot,
    Size,
    Style,
    arrange,
    logarithmic_y,
    new_axes,
    plain_ticks,
    style_of,
    text_width,
    write_beside,
)
from graftwork_trainer.report.numerals import BYTES, SHORT_TIMES, number, unit_for
from graftwork_trainer.report.table import ResultTable
from graftwork_trainer.report.variants import Variant


@dataclass(frozen=True, slots=True)
class _Bar:
    label: str
    style: Style
    median: float
    fast: float | None
    slow: float | None
    optimizer: float | None


def plan_trade_off(table: ResultTable) -> Plot | None:
    """The final primary metric against the bytes of optimizer state; None with fewer than two such points."""
    row, memory = table.primary, table.row("optimizer_state_bytes")
    if row is None or memory is None:
        return None
    points = [
        (label, style_of(index), quality.summary, state.summary.mean, quality.final)
        for index, (label, quality, state) in enumerate(
            zip(table.labels, row.cells, memory.cells, strict=True)
        )
        if quality.summary and state.summary and math.isfinite(quality.summary.mean)
    ]
    points = [point for point in points if point[4]] or points
    if len(points) < 2:
        return None
    scale, unit = unit_for([point[3] for point in points], BYTES)
    means = [point[2].mean for point in points]
    logarithmic = min(means) > 0 and max(means) / min(means) > LOGARITHMIC_FROM
    spread = any(point[2].deviation is not None for point in points)

    def draw(size: Size, title: str, note: str) -> Figure:
        figure, axes = new_axes(size)
        labels = []
        for label, style, quality, state, final in points:
            axes.errorbar(
                [state / scale], [quality.mean], yerr=[quality.deviation or 0.0],
                color=style.line_colour, marker=style.marker, markersize=9, elinewidth=1.6,
                markerfacecolor=style.line_colour if final else "none", linestyle="none",
            )  # fmt: skip
            labels.append(Label(state / scale, quality.mean, label, style.text_colour))
        largest = max(label.x for label in labels)
        axes.set_xlim(0, largest * 1.06 or 1.0)
        axes.margins(y=0.2)
        plain_ticks(axes, size)
        if logarithmic:
            logarithmic_y(axes)
        room = max(text_width(label.text) - 0.06 * size.width for label in labels) + 14
        arrange(
            figure, axes, size,
            y_title=row.title + (", log scale" if logarithmic else ""), x_title=f"optimizer state, {unit}",
            right=max(12.0, min(room, 0.42 * size.width)), title=title, note=note,
        )  # fmt: skip
        write_beside(axes, labels)
        return figure

    better = {"lower": "Lower left is better.", "higher": "Upper left is better.", None: ""}[row.better]
    note = f"{better} {'Bars: one standard deviation over seeds either way.' if spread else ''}".strip()
    title = f"Final {row.title} against optimizer memory"
    return Plot("metric-against-optimizer-memory", title, note, True, draw)


def plan_step_times(variants: Sequence[Variant]) -> Plot | None:
    """Bars of the median step time with the optimizer's part; None where nothing was timed."""
    bars = [bar for index, variant in enumerate(variants) if (bar := _bar(variant, style_of(index)))]
    if not bars:
        return None
    scale, unit = unit_for([bar.median for bar in bars], SHORT_TIMES)

    def draw(size: Size, title: str, note: str) -> Figure:
        figure, axes = new_axes(size)
        for row, bar in enumerate(bars):
            median = bar.median / scale
            axes.barh([-row], [median], height=0.42, color=bar.style.line_colour, alpha=0.55)
            if bar.optimizer is not None:
                axes.barh([-row], [bar.optimizer / scale], height=0.42, color=bar.style.line_colour)
            if bar.fast is not None and bar.slow is not None:
                axes.plot(
                    [bar.fast / scale, bar.slow / scale], [-row, -row], color=INK, linewidth=1.4, marker="|"
                )
            text = f"{number(median)} {unit}"
            axes.annotate(
                bar.label, xy=(0, -row + 0.26), xytext=(4, 0), textcoords="offset points",
                color=bar.style.text_colour, fontsize=FONT_SIZE, va="bottom",
            )  # fmt: skip
            end = max(bar.slow or 0.0, bar.median) / scale
            axes.annotate(
                text, xy=(end, -row), xytext=(7, 0), textcoords="offset points",
                color=INK, fontsize=FONT_SIZE, va="center", annotation_clip=False,
            )  # fmt: skip
        axes.set_ylim(-len(bars) + 0.55, 0.75)
        axes.set_xlim(0, max(max(bar.slow or 0.0, bar.median) for bar in bars) / scale)
        plain_ticks(axes, size)
        axes.set_yticks([])
        axes.grid(axis="y", color="none")
        axes.spines["left"].set_visible(True)
        axes.spines["left"].set_color(MUTED)
        widest = max(text_width(f"{number(bar.median / scale)} {unit}") for bar in bars)
        arrange(
            figure, axes, size,
            y_title="", x_title=f"{unit} a step", right=widest + 14, title=title, note=note,
        )  # fmt: skip
        return figure

    note = "Bar: median step, mean over seeds."
    if any(bar.optimizer is not None for bar in bars):
        note += " Solid part: the optimizer's own step."
    if any(bar.fast is not None for bar in bars):
        note += " Whisker: 10th to 90th percentile of the steps."
    return Plot("step-time", "Time of a step", note, True, draw)


def _bar(variant: Variant, style: Style) -> _Bar | None:
    results = [run.result for run in variant.counted_runs if run.result and run.result.step_seconds]
    timings = [result.step_seconds for result in results if result.step_seconds]
    if not timings:
        return None
    fast = [timing.p10 for timing in timings if timing.p10 is not None]
    slow = [timing.p90 for timing in timings if timing.p90 is not None]
    optimizer = [result.optimizer_step_seconds.median for result in results if result.optimizer_step_seconds]
    return _Bar(
        label=variant.label,
        style=style,
        median=summarize([timing.median for timing in timings]).mean,
        fast=summarize(fast).mean if fast else None,
        slow=summarize(slow).mean if slow else None,
        optimizer=summarize(optimizer).mean if optimizer else None,
    )
