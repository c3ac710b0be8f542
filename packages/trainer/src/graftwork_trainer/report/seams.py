"""Where stages begin in a figure: a dotted line with the stage's name above it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from matplotlib.axes import Axes

from graftwork_trainer.report.aggregate import Axis
from graftwork_trainer.report.drawing import FONT_SIZE, MUTED, Size
from graftwork_trainer.report.point_labels import shortened
from graftwork_trainer.report.variants import Variant

SEAM_ROOM = 18.0


@dataclass(frozen=True, slots=True)
class Seam:
    """Where a stage begins, in data coordinates."""

    x: float
    name: str


def seams_of(variants: Sequence[Variant], axis: Axis, scale: float) -> list[Seam]:
    """Where stages begin, from left to right; none by wall time, where every variant has its own places."""
    if axis == "seconds" and len(variants) > 1:
        return []
    runs = [run for variant in variants for run in variant.runs]
    places = {
        (stage.first_step if axis == "step" else stage.first_second, stage.name)
        for run in runs
        for stage in run.stages
    }
    return [Seam(place / scale, name) for place, name in sorted(places)]


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
            shortened(seam.name, (end - max(seam.x, low)) * width - 6), xy=(max(seam.x, low), 1.0),
            xycoords=("data", "axes fraction"), xytext=(3, 5), textcoords="offset points",
            color=MUTED, fontsize=FONT_SIZE - 1.5, annotation_clip=False,
        )  # fmt: skip
