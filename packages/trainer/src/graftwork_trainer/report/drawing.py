"""How every figure looks: colours, line styles, sizes, ticks and labels beside the lines.

The colours are the page's, and every variant has a line style and a marker of its own besides. Text beside a
line has a darker shade of its colour, for contrast.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from textwrap import wrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from graftwork_trainer.page import HUES
from graftwork_trainer.report.numerals import compact

INK = "#1f2429"
MUTED = "#5a636e"
RULE = "#dde1e6"
FONT_SIZE = 12.5
LOGARITHMIC_FROM = 8.0
SEAM_ROOM = 18.0


Dashes = tuple[int, tuple[float, ...] | None]


_DASHES: tuple[Dashes, ...] = (
    (0, None),
    (0, (6.0, 2.0)),
    (0, (1.5, 1.5)),
    (0, (6.0, 2.0, 1.5, 2.0)),
    (0, (10.0, 3.0)),
)
_ROUND = (1, 2, 2.5, 5, 10)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True, slots=True)
class Style:
    """What sets one variant's marks apart from the others'."""

    line_colour: str
    text_colour: str
    dashes: Dashes
    marker: str


@dataclass(frozen=True, slots=True)
class Size:
    """A figure in CSS pixels; ``narrow`` is read on a phone."""

    width: float
    height: float
    narrow: bool


WIDE = Size(560, 350, narrow=False)
NARROW = Size(350, 300, narrow=True)


Draw = Callable[[Size, str, str], Figure]


@dataclass(frozen=True, slots=True)
class Plot:
    """One figure before it is drawn.

    Args:
        name: the file's name without ending.
        title: what it shows.
        note: what its lines, bands and marks mean.
        leading: whether it belongs to the first view rather than among the further curves.
        draw: makes the figure of a size; a title and a note that are not empty are drawn into it.
    """

    name: str
    title: str
    note: str
    leading: bool
    draw: Draw


@dataclass(frozen=True, slots=True)
class Label:
    """Text beside a point, in data coordinates."""

    x: float
    y: float
    text: str
    colour: str


@dataclass(frozen=True, slots=True)
class Seam:
    """Where a stage begins, in data coordinates."""

    x: float
    name: str


def style_of(index: int) -> Style:
    """The style of the variant at ``index``: no two of the first thirty look alike."""
    hue = HUES[index % len(HUES)]
    return Style(hue.line, hue.text, _DASHES[index % len(_DASHES)], _MARKERS[index % len(_MARKERS)])


def new_axes(size: Size) -> tuple[Figure, Axes]:
    """A figure with one pair of axes, at one point a CSS pixel."""
    figure = Figure(figsize=(size.width / 72, size.height / 72))
    axes = figure.add_subplot()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.spines["bottom"].set_linewidth(0.8)
    axes.tick_params(colors=MUTED, labelsize=FONT_SIZE - 0.5, length=3, width=0.8, pad=4)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def plain_ticks(axes: Axes, size: Size, *, whole_x: bool = False) -> None:
    """Few, round, short tick labels on linear axes."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4 if size.narrow else 6, integer=whole_x, steps=_ROUND))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=_ROUND))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))


def logarithmic_y(axes: Axes) -> None:
    """A logarithmic vertical axis with ticks at 1, 2 and 5, or at powers of ten where those are many."""
    low, high = axes.dataLim.intervaly
    axes.set_yscale("log")
    steps = (1.0, 2.0, 5.0) if math.log10(high / low) < 2.2 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=steps, numticks=12))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))


def arrange(
    figure: Figure,
    axes: Axes,
    size: Size,
    *,
    y_title: str,
    x_title: str,
    right: float,
    title: str,
    note: str,
    above: float = 0.0,
) -> None:
    """Set margins by the text that has to fit, and write the titles.

    Args:
        right: pixels right of the axes, for labels.
        title: written above where not empty: for a figure that stands alone.
        note: what lines and bands mean, under the title; for a figure that stands alone.
        above: pixels between the title of the vertical axis and the axes, for names of stages.
    """
    ticks = axes.yaxis.get_major_formatter()
    low, high = axes.get_ylim()
    longest = max((len(ticks(value)) for value in axes.get_yticks() if low <= value <= high), default=0)
    left = (6 + 0.6 * FONT_SIZE * longest) if longest else 2
    note_lines = _wrapped(note, size.width / (FONT_SIZE * 0.52)) if note else []
    head = (30 if title else 0) + 16 * len(note_lines)
    top = head + (26 if y_title else 10) + above
    bottom = 44 if x_title else 24
    edge = 8 / size.width if title else 0.0
    left += edge * size.width
    figure.subplots_adjust(
        left=left / size.width,
        right=1 - right / size.width,
        top=1 - top / size.height,
        bottom=bottom / size.height,
    )
    if title:
        figure.text(edge, 1 - 20 / size.height, title, color=INK, fontsize=15, fontweight="bold")
    for index, line in enumerate(note_lines):
        height = 1 - (40 + 16 * index) / size.height
        figure.text(edge, height, line, color=MUTED, fontsize=FONT_SIZE - 1.5)
    if y_title:
        place = 1 - (head + 14) / size.height
        figure.text(edge, place, y_title, color=MUTED, fontsize=FONT_SIZE)
    if x_title:
        axes.set_xlabel(x_title, color=MUTED, fontsize=FONT_SIZE, labelpad=5)


def draw_seams(axes: Axes, seams: Sequence[Seam], size: Size) -> None:
    """Mark where stages begin, with their names above as far as there is room for them.

    Args:
        axes: as arranged, :data:`SEAM_ROOM` kept free above them.
        seams: from left to right.
        size: of the figure.
    """
    low, high = axes.get_xlim()
    width = axes.get_position().width * size.width / (high - low)
    for seam, following in zip_longest(seams, seams[1:]):
        end = following.x if following else high
        if seam.x > low:
            axes.axvline(seam.x, color=MUTED, linewidth=0.9, linestyle=(0, (1.5, 2.5)), zorder=0.9)
        axes.annotate(
            _shortened(seam.name, (end - max(seam.x, low)) * width), xy=(max(seam.x, low), 1.0),
            xycoords=("data", "axes fraction"), xytext=(3, 5), textcoords="offset points",
            color=MUTED, fontsize=FONT_SIZE - 1.5, annotation_clip=False,
        )  # fmt: skip


def _shortened(text: str, pixels: float) -> str:
    """A text in so much room, its end cut off where it is longer."""
    characters = int((pixels - 6) / (FONT_SIZE * 0.55))
    return text if len(text) <= characters else f"{text[: characters - 1]}…" if characters > 1 else ""


def text_width(text: str) -> float:
    """Pixels that a label takes, generously: the page sets it in the reader's own font."""
    return len(text) * FONT_SIZE * 0.64


def label_room(labels: Sequence[Label], size: Size) -> float | None:
    """Pixels to keep free beside the axes; None where labels are too many or too long and a legend is due."""
    widest = max((text_width(label.text) for label in labels), default=0.0)
    if len(labels) > 6 or widest > (0.36 if size.narrow else 0.3) * size.width:
        return None
    return widest + 14


def write_beside(axes: Axes, labels: Sequence[Label], *, flush_from: float = 2.0) -> None:
    """Write labels right of their points, moved apart vertically where they would overlap.

    Args:
        flush_from: points beyond this fraction of the axes' width have their labels at the axes' edge, clear
            of lines that go on.
    """
    line_height = FONT_SIZE * 1.25
    pixels = axes.figure.dpi / 72
    places = [axes.transData.transform((label.x, label.y)) / pixels for label in labels]
    xs = [float(place[0]) for place in places]
    ys = [float(place[1]) for place in places]
    box = axes.get_window_extent()
    lowest, highest = box.y0 / pixels + line_height / 4, box.y1 / pixels
    start, width = box.x0 / pixels, box.width / pixels
    shifts = [start + width - x if x >= start + flush_from * width else 0.0 for x in xs]
    xs = [x + shift for x, shift in zip(xs, shifts, strict=True)]
    widths = [text_width(label.text) + 6 for label in labels]
    wanted = list(ys)
    order = sorted(range(len(labels)), key=lambda i: ys[i])
    for _ in range(60):
        for below, above in (
            (order[i], order[j]) for i in range(len(order)) for j in range(i + 1, len(order))
        ):
            beside = min(xs[below] + widths[below], xs[above] + widths[above]) > max(xs[below], xs[above])
            lack = line_height - (wanted[above] - wanted[below])
            if beside and lack > 0:
                wanted[below] -= lack / 2
                wanted[above] += lack / 2
        wanted = [min(max(y, lowest), highest) for y in wanted]
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


def _wrapped(text: str, characters: float) -> list[str]:
    return wrap(text, max(20, int(characters)))
