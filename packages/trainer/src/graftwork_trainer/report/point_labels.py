"""Text beside points of a figure: never longer than there is room, and never over another text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from matplotlib.axes import Axes

from graftwork_trainer.report.drawing import FONT_SIZE, Size
from graftwork_trainer.report.short_names import short_names, without_end

_GAP = 14.0


@dataclass(frozen=True, slots=True)
class Label:
    """Text beside a point, in data coordinates."""

    x: float
    y: float
    text: str
    colour: str


def text_width(text: str) -> float:
    """Pixels that a text takes, generously: the page sets it in the reader's own font."""
    return len(text) * FONT_SIZE * 0.6


def characters_in(room: float) -> int:
    """How many characters fit into so many pixels."""
    return int(room / text_width("n"))


def shortened(text: str, room: float) -> str:
    """A text that fits into so many pixels, its end cut off where it is longer."""
    return without_end(text, characters_in(room))


def bounded(labels: Sequence[Label], size: Size) -> list[Label]:
    """The labels with texts that fit beside the axes, and that differ as before."""
    labels = _without_what_all_share(labels)
    most = characters_in((0.34 if size.narrow else 0.3) * size.width - _GAP)
    names = short_names([label.text for label in labels], most)
    return [replace(label, text=name) for label, name in zip(labels, names, strict=True)]


def _without_what_all_share(labels: Sequence[Label]) -> list[Label]:
    """Labels without the name of the optimizer, or what else leads them all."""
    leads = {label.text.partition(", ")[0] for label in labels}
    several = len(labels) > 1 and len(leads) == 1 and all(", " in label.text for label in labels)
    return [replace(label, text=label.text.partition(", ")[2]) if several else label for label in labels]


def on_axis(axes: Axes, labels: Sequence[Label]) -> list[Label]:
    """Labels of points beyond the vertical axis at its edge, with an arrow that says so."""
    low, high = map(float, axes.get_ylim())
    return [
        replace(label, y=high, text=f"{label.text} ↑") if label.y > high
        else replace(label, y=low, text=f"{label.text} ↓") if label.y < low
        else label
        for label in labels
    ]  # fmt: skip


def room_for(axes: Axes, labels: Sequence[Label], size: Size, *, flush_from: float) -> float:
    """Pixels to keep free right of the axes; less than the widest label where its point is well inside."""
    left, right = axes.get_xlim()
    widest = max((text_width(label.text) for label in labels), default=0.0)
    inner = size.width - 40 - widest
    needed = [12.0]
    for label in labels:
        place = (label.x - left) / (right - left)
        place = 1.0 if place >= flush_from else place
        needed.append(text_width(label.text) + _GAP - (1 - place) * inner)
    return max(needed)


def write_beside(axes: Axes, labels: Sequence[Label], *, flush_from: float = 2.0) -> None:
    """Write labels right of their points, moved apart vertically where they would overlap.

    Args:
        axes: as arranged.
        labels: a dozen or two.
        flush_from: points beyond this fraction of the axes' width have their labels at the axes' edge, clear
            of lines that go on.
    """
    pixels = axes.figure.dpi / 72
    places = [axes.transData.transform((label.x, label.y)) / pixels for label in labels]
    box = axes.get_window_extent()
    start, width = box.x0 / pixels, box.width / pixels
    shifts = [start + width - x if x >= start + flush_from * width else 0.0 for x, _ in places]
    spans = [(x + shift, x + shift + text_width(label.text) + 6)
             for (x, _), shift, label in zip(places, shifts, labels, strict=True)]  # fmt: skip
    ys = [float(y) for _, y in places]
    wanted = list(ys)
    for column in _columns(spans):
        apart = moved_apart(
            [ys[place] for place in column],
            gap=FONT_SIZE * 1.25, lowest=box.y0 / pixels + FONT_SIZE * 0.3, highest=box.y1 / pixels,
        )  # fmt: skip
        for place, y in zip(column, apart, strict=True):
            wanted[place] = y
    for label, shift, y, target in zip(labels, shifts, ys, wanted, strict=True):
        axes.annotate(
            label.text,
            xy=(label.x, label.y),
            xytext=(8 + shift, target - y),
            textcoords="offset points",
            color=label.colour,
            fontsize=FONT_SIZE,
            verticalalignment="center",
            annotation_clip=False,
        )


def _columns(spans: Sequence[tuple[float, float]]) -> list[list[int]]:
    """Places of spans that overlap one another, directly or by others between them."""
    columns: list[list[int]] = []
    end = -math.inf
    for place in sorted(range(len(spans)), key=lambda one: spans[one]):
        if spans[place][0] >= end:
            columns.append([])
        columns[-1].append(place)
        end = max(end, spans[place][1])
    return columns


def moved_apart(heights: Sequence[float], *, gap: float, lowest: float, highest: float) -> list[float]:
    """Heights a gap apart, in their order and within bounds, each as near to where it was as that allows.

    Where there is no room for so many the gap is as large as it can be.

    >>> moved_apart([10.0, 11.0, 50.0], gap=4.0, lowest=0.0, highest=100.0)
    [8.5, 12.5, 50.0]
    """
    count = len(heights)
    gap = min(gap, (highest - lowest) / max(1, count - 1))
    order = sorted(range(count), key=lambda place: heights[place])
    # Without the gaps the heights must not fall; pools of those that would take their mean.
    pools: list[list[float]] = []
    for rank, place in enumerate(order):
        pools.append([heights[place] - rank * gap])
        while len(pools) > 1 and fmean(pools[-2]) > fmean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    levels = [fmean(pool) for pool in pools for _ in pool]
    moved = [0.0] * count
    for rank, place in enumerate(order):
        moved[place] = min(max(levels[rank], lowest), highest - (count - 1) * gap) + rank * gap
    return moved
