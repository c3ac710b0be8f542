"""Which variants of a report have a colour of their own, and which are grey, being too many to tell apart.

No two coloured ones look alike in one report: where colours repeat, line styles and markers do not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from graftwork_trainer.page import HUES
from graftwork_trainer.report.table import ResultTable

MOST_COLOURED = 12
_COLOURED_OF_MANY = 6
_GREY = "#5a636e"

Dashes = tuple[int, tuple[float, ...] | None]

_DASHES: tuple[Dashes, ...] = (
    (0, None),
    (0, (6.0, 2.0)),
    (0, (1.5, 1.5)),
    (0, (6.0, 2.0, 1.5, 2.0)),
    (0, (10.0, 3.0)),
)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True, slots=True)
class Style:
    """What sets one variant's marks apart from the others'.

    Args:
        css: the colour as the page names it.
        coloured: whether the variant stands out; otherwise it is one of many grey ones, without a label.
    """

    line_colour: str
    text_colour: str
    dashes: Dashes
    marker: str
    css: str
    coloured: bool = True


@dataclass(frozen=True, slots=True)
class Palette:
    """A style for every variant, in their order, and a sentence on who is grey, empty where nobody is."""

    styles: tuple[Style, ...]
    note: str = ""

    @property
    def coloured(self) -> int:
        """How many variants have a colour of their own."""
        return sum(style.coloured for style in self.styles)


def style_of(place: int) -> Style:
    """The coloured style at ``place``: no two of the first thirty look alike."""
    which = place % len(HUES)
    hue = HUES[which]
    dashes, marker = _DASHES[place % len(_DASHES)], _MARKERS[place % len(_MARKERS)]
    return Style(hue.line, hue.text, dashes, marker, f"var(--line-{which})")


GREY = Style(_GREY, _GREY, (0, None), "o", "var(--muted)", coloured=False)


def grey_alpha(count: int) -> float:
    """How opaque the marks of so many grey variants are: together they are a shade, in which one can be seen.

    >>> grey_alpha(10), grey_alpha(200)
    (0.4, 0.12)
    """
    return round(min(0.4, max(0.12, 6 / count)), 3)


def choose_palette(table: ResultTable) -> Palette:
    """Colours for all variants up to a dozen; of more, for the best few, or the first where none is best."""
    count = len(table.labels)
    if count <= MOST_COLOURED:
        return Palette(tuple(map(style_of, range(count))))
    best = _best(table)
    chosen = (best or range(count))[:_COLOURED_OF_MANY]
    places = {place: rank for rank, place in enumerate(chosen)}
    styles = tuple(style_of(places[place]) if place in places else GREY for place in range(count))
    which = "best" if best else "first"
    return Palette(styles, f"In colour: the {which} {len(chosen)} of {count} variants.")


def _best(table: ResultTable) -> Sequence[int]:
    """The places of the variants with a final value, the best first; none where they are not ranked."""
    row = table.primary
    if row is None or row.better is None or table.not_ranked:
        return ()
    means = {
        place: cell.summary.mean
        for place, cell in enumerate(row.cells)
        if cell.final and cell.summary and math.isfinite(cell.summary.mean)
    }
    return sorted(means, key=lambda place: means[place], reverse=row.better == "higher")
