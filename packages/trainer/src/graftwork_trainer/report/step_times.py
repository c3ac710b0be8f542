"""Bars of the time of a step and the optimizer's part of it; names and values are clear of the whiskers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from graftwork_trainer.report.aggregate import summarize
from graftwork_trainer.report.drawing import (
    FONT_SIZE,
    INK,
    MUTED,
    Drawing,
    Exhibit,
    Plot,
    Size,
    arrange,
    new_axes,
    plain_ticks,
)
from graftwork_trainer.report.hover import Spot, placed
from graftwork_trainer.report.numerals import SHORT_TIMES, number, unit_for
from graftwork_trainer.report.palette import Palette, Style
from graftwork_trainer.report.point_labels import characters_in, text_width
from graftwork_trainer.report.short_names import short_names
from graftwork_trainer.report.variants import Variant

_LONGEST_WHISKER = 1.8
_PIXELS_A_BAR = 52


@dataclass(frozen=True, slots=True)
class _Bar:
    """The time of a step of one variant in seconds, means over its seeds."""

    label: str
    style: Style
    median: float
    fast: float | None
    slow: float | None
    optimizer: float | None


@dataclass(frozen=True, slots=True)
class _Figure:
    bars: Sequence[_Bar]
    scale: float
    unit: str

    def draw(self, size: Size, title: str, note: str) -> Drawing:
        size = replace(size, height=_height(len(self.bars), size, alone=bool(title)))
        figure, axes = new_axes(size)
        end = _end(self.bars) / self.scale
        axes.set_xlim(0, end)
        for row, bar in enumerate(self.bars):
            axes.barh([-row], [bar.median / self.scale], height=0.36, color=bar.style.line_colour, alpha=0.55)
            if bar.optimizer is not None:
                axes.barh([-row], [bar.optimizer / self.scale], height=0.36, color=bar.style.line_colour)
            if bar.fast is not None and bar.slow is not None:
                fast, slow = bar.fast / self.scale, bar.slow / self.scale
                axes.plot([fast, min(slow, end)], [-row, -row], color=INK, linewidth=1.4)
                axes.plot([fast], [-row], color=INK, marker="|")
                axes.plot(
                    [min(slow, end)], [-row], color=INK, marker="|" if slow <= end else ">", clip_on=False
                )
        axes.set_ylim(-len(self.bars) + 0.6, 0.55)
        plain_ticks(axes, size)
        axes.set_yticks([])
        axes.grid(axis="y", color="none")
        axes.spines["left"].set_visible(True)
        axes.spines["left"].set_color(MUTED)
        arrange(
            figure, axes, size,
            y_title="", x_title=f"{self.unit} a step", right=14, title=title, note=note,
        )  # fmt: skip
        values = [f"{number(bar.median / self.scale)} {self.unit}" for bar in self.bars]
        most = characters_in(size.width - 60 - max(map(text_width, values)))
        names = short_names([bar.label for bar in self.bars], most)
        for row, (bar, name, value) in enumerate(zip(self.bars, names, values, strict=True)):
            axes.annotate(
                name, xy=(0, -row + 0.22), xytext=(4, 0),
                textcoords="offset points", color=bar.style.text_colour, fontsize=FONT_SIZE, va="bottom",
            )  # fmt: skip
            axes.annotate(
                value, xy=(end, -row + 0.22), color=INK, fontsize=FONT_SIZE, va="bottom", ha="right",
            )  # fmt: skip
        return Drawing(figure, placed(axes, map(self._spot, range(len(self.bars)))))

    def _spot(self, row: int) -> Spot:
        bar = self.bars[row]

        def told(seconds: float) -> str:
            return f"{number(seconds / self.scale)} {self.unit}"

        parts = [f"{bar.label}: median step {told(bar.median)}"]
        if bar.fast is not None and bar.slow is not None:
            parts.append(f"10th to 90th percentile {told(bar.fast)} to {told(bar.slow)}")
        if bar.optimizer is not None:
            parts.append(f"optimizer {told(bar.optimizer)}")
        return Spot(bar.median / self.scale, -row, ", ".join(parts))


def exhibit(variants: Sequence[Variant], palette: Palette) -> Exhibit | None:
    """The time of a step of the variants that have a colour; None where fewer than two were timed.

    A single bar would be as long as the figure is wide, whatever it stands for.
    """
    bars = [
        bar
        for variant, style in zip(variants, palette.styles, strict=True)
        if style.coloured and (bar := _bar(variant, style))
    ]
    if len(bars) < 2:
        return None
    scale, unit = unit_for([bar.median for bar in bars], SHORT_TIMES)
    note = "Bar: median step, mean over seeds."
    if any(bar.optimizer is not None for bar in bars):
        note += " Solid part: the optimizer's own step."
    if any(bar.fast is not None for bar in bars):
        note += " Whisker: 10th to 90th percentile of the steps."
    if any((bar.slow or 0.0) > _end(bars) for bar in bars):
        note += " An arrow: it goes on beyond the axis."
    if palette.note:
        note += f" {palette.note}"
    title = "Time of a step"
    return Exhibit(title, (Plot("step-time", title, note, _Figure(bars, scale, unit).draw),), leading=True)


def _height(bars: int, size: Size, *, alone: bool) -> float:
    """Pixels for so many bars; a figure that stands alone is as high as others, and has a title to hold."""
    needed = 60.0 + _PIXELS_A_BAR * bars
    return max(size.height, needed + 80) if alone else needed


def _end(bars: Sequence[_Bar]) -> float:
    """Where the axis ends: a whisker may be so long that the bars, which are compared, could no longer be."""
    longest = max(bar.median for bar in bars)
    return min(max([longest, *(bar.slow for bar in bars if bar.slow)]), _LONGEST_WHISKER * longest)


def _bar(variant: Variant, style: Style) -> _Bar | None:
    results = [run.result for run in variant.counted_runs if run.result and run.result.step_seconds]
    timings = [result.step_seconds for result in results if result.step_seconds]
    median = _finite_mean([timing.median for timing in timings])
    if median is None:
        return None
    fast = [timing.p10 for timing in timings if timing.p10 is not None]
    slow = [timing.p90 for timing in timings if timing.p90 is not None]
    optimizer = [result.optimizer_step_seconds.median for result in results if result.optimizer_step_seconds]
    return _Bar(
        label=variant.label,
        style=style,
        median=median,
        fast=_finite_mean(fast),
        slow=_finite_mean(slow),
        optimizer=_finite_mean(optimizer),
    )


def _finite_mean(values: Sequence[float]) -> float | None:
    """What an axis can show: None where there is no value, or one that is not finite."""
    mean = summarize(values).mean if values else math.nan
    return mean if math.isfinite(mean) else None
