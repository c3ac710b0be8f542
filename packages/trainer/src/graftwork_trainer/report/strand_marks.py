"""The marks of strands in a figure: lines, bands, single seeds and crosses, and where their names belong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from graftwork_trainer.report.aggregate import Floats, Track
from graftwork_trainer.report.palette import grey_alpha
from graftwork_trainer.report.point_labels import Label
from graftwork_trainer.report.strands import Strand
from graftwork_trainer.report.thinning import Places

_MARKED_UP_TO = 16


def draw_strands(axes: Axes, strands: Sequence[Strand]) -> Iterator[Label]:
    """Draw all strands, the grey ones below, and give the labels of the others."""
    _draw_grey(axes, [strand for strand in strands if not strand.style.coloured])
    for strand in strands:
        if strand.style.coloured:
            _draw_strand(axes, strand)
            if (end := label_place(strand)) is not None:
                yield Label(*end, strand.label, strand.style.text_colour)
            if (training := strand.training) is not None:
                axes.plot(
                    training.x, training.mean, color=strand.style.line_colour, linewidth=1.0, alpha=0.75
                )
                end = _end_of(Track(training.x, training.mean))
                if end is not None and len(strands) == 1:
                    yield Label(*end, "training", strand.style.text_colour)


def _draw_grey(axes: Axes, strands: Sequence[Strand]) -> None:
    """One collection for all: some hundred lines one by one take seconds."""
    lines = [(one.x, one.y) for strand in strands for one in strand.interrupted]
    lines += [(strand.centre.x, strand.centre.mean) for strand in strands if strand.centre]
    if lines:
        paths = [np.column_stack(line) for line in lines]
        colour, alpha = strands[0].style.line_colour, grey_alpha(len(lines))
        axes.add_collection(LineCollection(paths, colors=colour, linewidths=0.8, alpha=alpha, zorder=1.5))


def _draw_strand(axes: Axes, strand: Strand) -> None:
    style, centre = strand.style, strand.centre
    for one in strand.faint:
        axes.plot(one.x, one.y, color=style.line_colour, linewidth=0.8, alpha=0.28)
    for one in strand.interrupted:
        axes.plot(one.x, one.y, color=style.line_colour, linewidth=1.1, linestyle=(0, (2, 2)))
        axes.plot(
            one.x[-1:], one.y[-1:], color=style.line_colour, marker="x", markersize=8, markeredgewidth=2
        )
    if centre is None:
        return
    if centre.count > 1:
        axes.fill_between(
            centre.x, centre.low, centre.high, color=style.line_colour, alpha=0.18, linewidth=0
        )  # fmt: skip
    axes.plot(
        centre.x, centre.mean, color=style.line_colour, linewidth=2.0, linestyle=style.dashes,
        marker=style.marker if centre.x.size <= _MARKED_UP_TO else "", markersize=4.5,
    )  # fmt: skip


def _end_of(one: Track) -> tuple[float, float] | None:
    return next(((float(one.x[place]), float(one.y[place])) for place in last_finite(one.y)), None)


def last_finite(values: Floats) -> Places:
    """The place of the last finite value, none where there is none."""
    return np.flatnonzero(np.isfinite(values))[-1:]


def label_place(strand: Strand) -> tuple[float, float] | None:
    """Where its line ends, in data coordinates; None where it has no finite value."""
    if strand.centre is not None:
        return _end_of(Track(strand.centre.x, strand.centre.mean))
    return _end_of(strand.interrupted[-1]) if strand.interrupted else None
