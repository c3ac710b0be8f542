"""A metric against steps or wall time: every seed faint, their mean and range, training beside validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from graftwork import Direction
from graftwork_trainer.report import metrics
from graftwork_trainer.report.aggregate import Axis, Band, breaks
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
from graftwork_trainer.report.numerals import LONG_TIMES, compact, number, unit_for
from graftwork_trainer.report.palette import Palette
from graftwork_trainer.report.point_labels import bounded, on_axis, room_for, write_beside
from graftwork_trainer.report.seams import SEAM_ROOM, Seam, draw_seams, seams_of
from graftwork_trainer.report.strand_marks import draw_strands, label_place, last_finite
from graftwork_trainer.report.strands import Strand, strand_of, tracks_of, window_for
from graftwork_trainer.report.thinning import places_to_keep
from graftwork_trainer.report.variants import Variant
from graftwork_trainer.report.view import View, choose_view

_MOST_POINTS = 240
_MOST_POINTS_OF_GREY = 4000
_MOST_BESIDE_TRAINING = 6
_MOST_SPOTS = 30
_MARKED_UP_TO = 16
_FLUSH_FROM = 0.8
# With what is put behind it below the 143 bytes that file systems with encrypted names take.
_LONGEST_FILE_NAME = 100
_ARROWS = {"lower": " ↓", "higher": " ↑", None: ""}


def exhibit(
    metric: str,
    variants: Sequence[Variant],
    palette: Palette,
    *,
    axes: Sequence[Axis],
    better: Direction | None,
    leading: bool,
) -> Exhibit | None:
    """The figures of one metric, one for each axis on which a run has two points; None without any."""
    plots = [_plan(metric, variants, palette, axis, better) for axis in axes]
    found = tuple(plot for plot in plots if plot)
    return Exhibit(_title(metric, training_beside(metric, variants)), found, leading) if found else None


def training_beside(metric: str, variants: Sequence[Variant]) -> str | None:
    """The training metric of the same name that stands in one figure with an unseen one; None for none."""
    twin = f"train/{metric.rpartition('/')[2]}"
    recorded = any(twin in run.curves for variant in variants for run in variant.runs)
    few = len(variants) <= _MOST_BESIDE_TRAINING
    return twin if recorded and few and metric != twin and metrics.group(metric) else None


@dataclass(frozen=True, slots=True)
class _Figure:
    """All that a figure of one metric shows, whatever its size."""

    strands: Sequence[Strand]
    seams: Sequence[Seam]
    view: View
    x_title: str
    y_title: str
    at: str

    def draw(self, size: Size, title: str, note: str) -> Drawing:
        """Draw it; spots are in pixels."""
        figure, axes = new_axes(size)
        labels = list(draw_strands(axes, self.strands))
        axes.margins(x=0.012, y=0.06)
        plain_ticks(axes, size, whole_x=self.x_title == "step")
        if self.view.logarithmic:
            axes.set_yscale("log")
        if self.view.low is not None:
            axes.set_ylim(self.view.low, self.view.high)
        if self.view.logarithmic:
            logarithmic_ticks(axes)
        labels = on_axis(axes, bounded(labels, size))
        arrange(
            figure, axes, size,
            y_title=self.y_title, x_title=self.x_title, title=title, note=note,
            right=room_for(axes, labels, size, flush_from=_FLUSH_FROM), above=SEAM_ROOM if self.seams else 0,
        )  # fmt: skip
        draw_seams(axes, self.seams, size)
        write_beside(axes, labels, flush_from=_FLUSH_FROM)
        return Drawing(figure, placed(axes, self._spots()))

    def _spots(self) -> Iterator[Spot]:
        """What is said under the pointer: few points of a coloured line, and the last one of a grey one."""
        for strand in self.strands:
            for name, centre in (
                (strand.label, strand.centre),
                (f"{strand.label}, training", strand.training),
            ):
                if centre is not None:
                    yield from self._spots_of(name, centre, _MOST_SPOTS if strand.style.coloured else 1)
            for one in strand.interrupted:
                yield from self._spots_of(strand.label, Band(one.x, one.y, one.y, one.y, 1), 1)

    def _spots_of(self, name: str, line: Band, most: int) -> Iterator[Spot]:
        chosen = places_to_keep(most, line.mean) if most > 1 else last_finite(line.mean)
        for place in chosen[np.isfinite(line.mean[chosen])]:
            x, value = float(line.x[place]), float(line.mean[place])
            text = f"{name}, {self.at.format(number(x) if x % 1 else f'{x:,.0f}')}: {number(value)}"
            if line.count > 1:
                ends = f"{number(float(line.low[place]))} to {number(float(line.high[place]))}"
                text += f" ({ends} over {line.count} seeds)"
            yield Spot(x, value, text)


def _plan(
    metric: str, variants: Sequence[Variant], palette: Palette, axis: Axis, better: Direction | None
) -> Plot | None:
    found = [one for variant in variants for one, _ in tracks_of(metric, variant.runs, axis)]
    longest = max((one.x.size for one in found), default=0)
    if longest < 2:
        return None
    window = window_for(longest) if metrics.group(metric) == "train" else 1
    scale, unit = (
        (1.0, "") if axis == "step" else unit_for([max(float(one.x[-1]) for one in found)], LONG_TIMES)
    )
    strands = _strands(metric, variants, palette, axis=axis, scale=scale, window=window)
    broken = bool(breaks(np.concatenate([one.y for one in found])).size)
    # Of numbers of two kinds, those before the break matter as much.
    view = _view(strands, None if broken else better)
    figure = _Figure(
        strands,
        seams_of(variants, axis, scale),
        view,
        x_title="step" if axis == "step" else f"wall time, {unit}",
        y_title=_y_title(metric, better, view),
        at="step {}" if axis == "step" else f"{{}} {unit}",
    )
    against = "by step" if axis == "step" else "by wall time"
    file = _file_name(metric) + ("" if axis == "step" else "-by-wall-time")
    notes = [_note(strands, view, window, figure.seams), palette.note]
    if broken:
        notes.append(
            "A line is broken where a stage with another task, other options of it or other data begins: its "
            "numbers are not to be compared with those before."
        )
    title = f"{_title(metric, training_beside(metric, variants))} {against}"
    return Plot(file, title, " ".join(filter(None, notes)), figure.draw, against)


def _view(strands: Sequence[Strand], better: Direction | None) -> View:
    """What runs that reached their end decide, if any did: one that failed does not stretch the axis.

    Of very many the better half decides: in a wide search the others may be anywhere.
    """
    deciding = _better_half([strand for strand in strands if strand.complete] or strands, better)
    lines = [line for strand in deciding for line in strand.lines]
    if better is None:
        # A single outlier may be what matters.
        lines += [line for strand in deciding for line in strand.faint]
    return choose_view(lines, better, ends=[end[1] for one in deciding if (end := label_place(one))])


def _better_half(strands: Sequence[Strand], better: Direction | None) -> Sequence[Strand]:
    """Those that have a colour, and of the grey ones those that ended in the better half of all."""
    ends = {place: end[1] for place, strand in enumerate(strands) if (end := label_place(strand))}
    if better is None or all(strand.style.coloured for strand in strands):
        return strands
    ranked = sorted(ends, key=lambda place: ends[place], reverse=better == "higher")
    kept = set(ranked[: max(1, len(ranked) // 2)])
    return [strand for place, strand in enumerate(strands) if strand.style.coloured or place in kept]


def _strands(
    metric: str, variants: Sequence[Variant], palette: Palette, *, axis: Axis, scale: float, window: int
) -> list[Strand]:
    training = training_beside(metric, variants)
    grey = max(1, len(variants) - palette.coloured)
    strands = [
        strand_of(
            variant, style,
            metric=metric, training=training, axis=axis, scale=scale, window=window,
            most_points=_MOST_POINTS if style.coloured else max(16, _MOST_POINTS_OF_GREY // grey),
        )
        for variant, style in zip(variants, palette.styles, strict=True)
    ]  # fmt: skip
    if len(strands) == 1 and training:
        return [replace(strands[0], label=metrics.group(metric))]
    # In a crowd, single seeds and raw values hide more than they show.
    return strands if palette.coloured == len(strands) else [replace(strand, faint=()) for strand in strands]


def _title(metric: str, training: str | None) -> str:
    """What a figure shows: ``Validation loss``, ``Validation and training loss``."""
    text = metrics.full_title(metric)
    if training:
        text = f"{metrics.group(metric)} and {metrics.full_title(training)}"
    return f"{text[:1].upper()}{text[1:]}"


def _file_name(metric: str) -> str:
    name = "".join(character if character.isalnum() or character in "-." else "-" for character in metric)
    return name.encode()[:_LONGEST_FILE_NAME].decode(errors="ignore")


def _y_title(metric: str, better: Direction | None, view: View) -> str:
    """The metric with its direction, and what of it the axis does not show."""
    parts = [metrics.title(metric) + _ARROWS[better]]
    if view.logarithmic:
        parts.append("log scale")
    if view.edge is not None and view.beyond is not None:
        way = "up" if view.beyond > view.edge else "down"
        parts.append(f"axis cut at {_rounded(view.edge)}, values {way} to {_rounded(view.beyond)}")
    return ", ".join(parts)


def _rounded(value: float) -> str:
    return compact(float(f"{value:.3g}"))


def _note(strands: Sequence[Strand], view: View, window: int, seams: Sequence[Seam]) -> str:
    counts = {strand.centre.count for strand in strands if strand.centre}
    parts = []
    if any(count > 1 for count in counts):
        seeds = str(max(counts)) if len(counts) == 1 else f"up to {max(counts)}"
        parts.append(f"Line: mean over {seeds} seeds. Band: lowest to highest seed.")
    elif counts:
        parts.append("One seed each: no spread." if len(strands) > 1 else "One seed: no spread.")
    if any(strand.training for strand in strands):
        parts.append("Thin: on training data.")
    faint = any(strand.faint for strand in strands)
    if window > 1:
        behind = " over the faint raw values" if faint else ""
        parts.append(f"Moving average of {window} points{behind}.")
    elif faint and any(count > 1 for count in counts):
        parts.append("Faint: single seeds.")
    if any(strand.interrupted for strand in strands):
        parts.append("A cross ends a run that failed or is unfinished.")
    beyond = [strand for strand in strands if (end := label_place(strand)) and not view.shows(end[1])]
    if any(strand.style.coloured for strand in beyond):
        parts.append("An arrow beside a name: it ends beyond the axis.")
    if grey := sum(not strand.style.coloured for strand in beyond):
        parts.append(f"Beyond the axis end {grey} of the grey lines.")
    if len(seams) > 1:
        parts.append("Dotted: where a stage begins.")
    return " ".join(parts)
