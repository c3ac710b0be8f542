"""A metric against steps or wall time: every seed faint, their mean and their range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from graftwork_trainer.report import metrics
from graftwork_trainer.report.aggregate import (
    Axis,
    Band,
    Floats,
    Track,
    band,
    breaks,
    smooth,
    thin_out,
    track,
)
from graftwork_trainer.report.drawing import (
    FONT_SIZE,
    INK,
    LOGARITHMIC_FROM,
    SEAM_ROOM,
    Label,
    Plot,
    Seam,
    Size,
    Style,
    arrange,
    draw_seams,
    label_room,
    logarithmic_y,
    new_axes,
    plain_ticks,
    style_of,
    text_width,
    write_beside,
)
from graftwork_trainer.report.numerals import LONG_TIMES, unit_for
from graftwork_trainer.report.variants import Variant

_MOST_POINTS = 240
_SMOOTHED_FROM = 40
_MARKED_UP_TO = 16
_FLUSH_FROM = 0.8


@dataclass(frozen=True, slots=True)
class _Strand:
    """What is drawn of one variant.

    Args:
        faint: what lies behind the line: raw values where it is smoothed, single seeds where it is a mean.
        centre: the mean over seeds, or the one seed there is; of complete runs, unless none is.
        interrupted: runs that did not reach their end.
    """

    label: str
    style: Style
    faint: tuple[Track, ...]
    centre: Band | None
    interrupted: tuple[Track, ...]


def plan(metric: str, variants: Sequence[Variant], *, axis: Axis, leading: bool) -> Plot | None:
    """Plan the figure of one metric; None where no run has two points on that axis."""
    found = [
        track(run.curves[metric], axis)
        for variant in variants
        for run in variant.runs
        if metric in run.curves
    ]
    found = [one for one in found if one.x.size]
    longest = max((one.x.size for one in found), default=0)
    if longest < 2:
        return None
    window = 1 + 2 * (longest // 60) if longest >= _SMOOTHED_FROM and metrics.group(metric) == "train" else 1
    scale, unit = (
        (1.0, "") if axis == "step" else unit_for([max(float(one.x[-1]) for one in found)], LONG_TIMES)
    )
    strands = [
        _strand(metric, axis, variant, style_of(i), window, scale) for i, variant in enumerate(variants)
    ]
    values = np.concatenate([one.y for one in found])
    values = values[np.isfinite(values)]
    logarithmic = bool(values.size and values.min() > 0 and values.max() / values.min() > LOGARITHMIC_FROM)
    name = metrics.title(metric)
    spoken = metrics.full_title(metric)
    y_title = name + (", log scale" if logarithmic else "")
    x_title = "step" if axis == "step" else f"wall time, {unit}"

    seams = _seams(variants, axis, scale)

    def draw(size: Size, title: str, note: str) -> Figure:
        return _draw(strands, seams, size, x_title, y_title, logarithmic, title, note)

    against = "by step" if axis == "step" else "by wall time"
    file = metric.replace("/", "-").replace("_", "-") + ("" if axis == "step" else "-by-wall-time")
    title = f"{spoken[:1].upper()}{spoken[1:]} {against}"
    broken = bool(breaks(np.concatenate([one.y for one in found])).size)
    return Plot(_file_name(file), title, _note(strands, window, seams, broken=broken), leading, draw)


def _seams(variants: Sequence[Variant], axis: Axis, scale: float) -> list[Seam]:
    """Where stages begin, on the axis; by wall time that is another place for every variant."""
    if axis == "seconds" and len(variants) > 1:
        return []
    runs = [run for variant in variants for run in variant.runs]
    places = {
        (stage.first_step if axis == "step" else stage.first_second, stage.name)
        for run in runs
        for stage in run.stages
    }
    return [Seam(place / scale, name) for place, name in sorted(places)]


def _file_name(text: str) -> str:
    return "".join(character if character.isalnum() or character in "-." else "-" for character in text)


def _strand(metric: str, axis: Axis, variant: Variant, style: Style, window: int, scale: float) -> _Strand:
    tracks = []
    for run in variant.runs:
        if metric in run.curves:
            whole = track(run.curves[metric], axis)
            if whole.x.size:
                tracks.append((Track(whole.x / scale, whole.y), run))
    complete = [one for one, run in tracks if run.complete]
    counted = complete or [one for one, _ in tracks]
    interrupted = [smooth(one, window) for one, run in tracks if not run.complete]
    label = f"{variant.label} ({variant.status})" if variant.status else variant.label
    return _Strand(
        label=label,
        style=style,
        faint=tuple(thin_out(one, _MOST_POINTS) for one, _ in tracks)
        if window > 1 or len(counted) > 1
        else (),
        centre=band([smooth(one, window) for one in counted]),
        interrupted=tuple(thin_out(one, _MOST_POINTS) for one in interrupted),
    )


def _note(strands: Sequence[_Strand], window: int, seams: Sequence[Seam], *, broken: bool) -> str:
    counts = {strand.centre.count for strand in strands if strand.centre}
    parts = []
    if any(count > 1 for count in counts):
        seeds = str(max(counts)) if len(counts) == 1 else f"up to {max(counts)}"
        parts.append(f"Line: mean over {seeds} seeds. Band: lowest to highest seed.")
    elif counts:
        parts.append("One seed each: no spread." if len(strands) > 1 else "One seed: no spread.")
    if window > 1:
        parts.append(f"Moving average of {window} points over the faint raw values.")
    elif any(count > 1 for count in counts):
        parts.append("Faint: single seeds.")
    if any(strand.interrupted for strand in strands):
        parts.append("A cross ends a run that failed or is unfinished.")
    if len(seams) > 1:
        parts.append("Dotted: where a stage begins.")
    if broken:
        parts.append(
            "A line is broken where a stage with another task, other options of it or other data begins: its "
            "numbers are not to be compared with those before."
        )
    return " ".join(parts)


def _draw(
    strands: Sequence[_Strand],
    seams: Sequence[Seam],
    size: Size,
    x_title: str,
    y_title: str,
    logarithmic: bool,
    title: str,
    note: str,
) -> Figure:
    figure, axes = new_axes(size)
    labels = []
    for strand in strands:
        end = _draw_strand(axes, strand)
        if end is not None:
            labels.append(Label(*end, strand.label, strand.style.text_colour))
    axes.margins(x=0.012, y=0.06)
    plain_ticks(axes, size, whole_x=x_title == "step")
    if logarithmic:
        logarithmic_y(axes)
    room = label_room(labels, size)
    arrange(
        figure, axes, size,
        y_title=y_title, x_title=x_title, title=title, note=note,
        right=12 if room is None else _room_needed(axes, labels, size, room), above=SEAM_ROOM if seams else 0,
    )  # fmt: skip
    draw_seams(axes, seams, size)
    if room is None:
        _legend(axes, strands, size)
    else:
        write_beside(axes, labels, flush_from=_FLUSH_FROM)
    return figure


def _room_needed(axes: Axes, labels: Sequence[Label], size: Size, widest: float) -> float:
    """Less than the widest label where long ones belong to lines that end well inside the axes."""
    left, right = axes.get_xlim()
    inner = size.width - 40 - widest
    needed = [12.0]
    for label in labels:
        place = (label.x - left) / (right - left)
        place = 1.0 if place >= _FLUSH_FROM else place
        needed.append(text_width(label.text) + 14 - (1 - place) * inner)
    return max(needed)


def _draw_strand(axes: Axes, strand: _Strand) -> tuple[float, float] | None:
    """Draw one variant and return where its label belongs."""
    style, centre = strand.style, strand.centre
    for one in strand.faint:
        axes.plot(one.x, one.y, color=style.line_colour, linewidth=0.8, alpha=0.28)
    for one in strand.interrupted:
        axes.plot(one.x, one.y, color=style.line_colour, linewidth=1.1, linestyle=(0, (2, 2)))
        axes.plot(
            one.x[-1:], one.y[-1:], color=style.line_colour, marker="x", markersize=8, markeredgewidth=2
        )
    if centre is None:
        return (
            _last_finite(strand.interrupted[-1].x, strand.interrupted[-1].y) if strand.interrupted else None
        )
    spread = np.linspace(0, centre.x.size - 1, min(centre.x.size, _MOST_POINTS)).astype(int)
    chosen = np.unique(np.concatenate([spread, breaks(centre.mean)]))
    if centre.count > 1:
        axes.fill_between(
            centre.x[chosen], centre.low[chosen], centre.high[chosen],
            color=style.line_colour, alpha=0.18, linewidth=0,
        )  # fmt: skip
    axes.plot(
        centre.x[chosen], centre.mean[chosen],
        color=style.line_colour, linewidth=2.0, linestyle=style.dashes,
        marker=style.marker if centre.x.size <= _MARKED_UP_TO else "", markersize=4.5,
    )  # fmt: skip
    return _last_finite(centre.x, centre.mean)


def _last_finite(x: Floats, y: Floats) -> tuple[float, float] | None:
    finite = np.flatnonzero(np.isfinite(y))
    return (float(x[finite[-1]]), float(y[finite[-1]])) if finite.size else None


def _legend(axes: Axes, strands: Sequence[_Strand], size: Size) -> None:
    handles = [
        axes.plot(
            [],
            [],
            color=s.style.line_colour,
            linestyle=s.style.dashes,
            linewidth=2,
            marker=s.style.marker,
            markersize=5,
            label=s.label,
        )[0]
        for s in strands
    ]
    axes.legend(
        handles=handles, loc="best", frameon=False, fontsize=FONT_SIZE - (1.5 if size.narrow else 0.5),
        labelcolor=INK, handlelength=2.6, borderaxespad=0.2, labelspacing=0.35,
    )  # fmt: skip
