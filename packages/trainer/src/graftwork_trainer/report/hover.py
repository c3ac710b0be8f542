"""Values under the pointer: a transparent circle on a point of a figure, whose ``title`` browsers show.

No script is needed; a screen reader reads the titles, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from matplotlib.axes import Axes

_RADIUS = 8


@dataclass(frozen=True, slots=True)
class Spot:
    """A point of a figure and what to say of it, in data coordinates."""

    x: float
    y: float
    text: str


def placed(axes: Axes, spots: Iterable[Spot]) -> tuple[Spot, ...]:
    """The spots that lie within the axes, in CSS pixels from the figure's upper left corner.

    Args:
        axes: as arranged; their limits stay as they are from now on.
        spots: in data coordinates.
    """
    figure = axes.figure
    pixels = figure.dpi / 72
    height = figure.bbox.height / pixels
    box = axes.get_window_extent()
    spots = list(spots)
    places = axes.transData.transform([(spot.x, spot.y) for spot in spots]).tolist() if spots else []
    return tuple(
        Spot(x / pixels, height - y / pixels, spot.text)
        for spot, (x, y) in zip(spots, places, strict=True)
        if box.x0 - 1 <= x <= box.x1 + 1 and box.y0 - 1 <= y <= box.y1 + 1
    )


def svg_of(spots: Iterable[Spot]) -> str:
    """SVG elements for spots in pixels; the page's style gives the one under the pointer a ring."""
    circles = "".join(
        f'<circle cx="{spot.x:.1f}" cy="{spot.y:.1f}" r="{_RADIUS}">'
        f"<title>{escape(spot.text)}</title></circle>"
        for spot in spots
    )
    return f'<g class="spots">{circles}</g>' if circles else ""
