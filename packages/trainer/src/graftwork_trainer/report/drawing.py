"""How every figure looks: sizes, axes, ticks, margins and titles."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from textwrap import wrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from graftwork_trainer.report.hover import Spot
from graftwork_trainer.report.numerals import compact

INK = "#1f2429"
MUTED = "#5a636e"
RULE = "#dde1e6"
FONT_SIZE = 12.5

_ROUND = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Size:
    """A figure in CSS pixels; ``narrow`` is read on a phone, or beside others of its kind."""

    width: float
    height: float
    narrow: bool


WIDE = Size(560, 350, narrow=False)
NARROW = Size(350, 300, narrow=True)


@dataclass(frozen=True, slots=True)
class Drawing:
    """A drawn figure, and what its points say under the pointer, in CSS pixels."""

    figure: Figure
    spots: tuple[Spot, ...] = ()


Draw = Callable[[Size, str, str], Drawing]


@dataclass(frozen=True, slots=True)
class Plot:
    """One figure before it is drawn.

    Args:
        name: the file's name without ending.
        title: what it shows, for the figure that stands alone.
        note: what its lines, bands and marks mean.
        draw: makes the figure of a size; a title and a note that are not empty are drawn into it.
        against: what its horizontal axis is, where the page lets a reader choose.
    """

    name: str
    title: str
    note: str
    draw: Draw
    against: str = ""


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A place on the page: one figure, or several of which a reader chooses one.

    Args:
        title: above it.
        plots: the first is shown first.
        leading: whether it belongs to the first view rather than among the further curves.
    """

    title: str
    plots: tuple[Plot, ...]
    leading: bool


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


def logarithmic_ticks(axes: Axes) -> None:
    """Ticks of a logarithmic vertical axis at 1, 2 and 5, or at powers of ten where those are many."""
    low, high = axes.get_ylim()
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
        figure: to arrange.
        axes: the figure's only ones, with all that is drawn to scale.
        size: of the figure.
        y_title: above the vertical axis.
        x_title: below the horizontal axis.
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


def _wrapped(text: str, characters: float) -> list[str]:
    return wrap(text, max(20, int(characters)))
