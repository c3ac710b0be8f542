"""A figure as a PNG file on white, and as SVG for the page, wide or narrow.

The SVG names its colours as CSS variables and takes its font from the page, so that one drawing serves the
light and the dark scheme.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib as mpl

from graftwork_trainer.page import HUES
from graftwork_trainer.report.drawing import INK, MUTED, NARROW, RULE, WIDE, Plot
from graftwork_trainer.report.hover import svg_of

# Two pixels for each of the page's.
_PNG_DOTS_PER_INCH = 144
_CSS = {INK: "var(--ink)", MUTED: "var(--muted)", RULE: "var(--rule)"} | {
    colour: f"var(--{use}-{index})"
    for index, hue in enumerate(HUES)
    for use, colour in (("line", hue.line), ("text", hue.text))
}


def write_png(plot: Plot, folder: Path) -> Path:
    """Write the figure with its title and note, on white."""
    file = folder / f"{plot.name}.png"
    with _drawing(plot.name):
        figure = plot.draw(WIDE, plot.title, plot.note).figure
        # The usual level takes twice as long for a twentieth less of a file.
        packed = {"compress_level": 3}
        figure.savefig(file, format="png", dpi=_PNG_DOTS_PER_INCH, facecolor="white", pil_kwargs=packed)
    return file


def inline_svg(plot: Plot, *, narrow: bool, values: bool) -> str:
    """The figure as an ``svg`` element; the page defines ``--ink``, ``--line-0`` and the other colours.

    Args:
        plot: to draw.
        narrow: for a phone, or for many figures beside one another.
        values: whether its points say theirs under the pointer.
    """
    salt = f"{plot.name}-{'narrow' if narrow else 'wide'}"
    with _drawing(salt):
        buffer = StringIO()
        drawing = plot.draw(NARROW if narrow else WIDE, "", "")
        drawing.figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    element = _for_page(buffer.getvalue(), prefix=salt, title=plot.title)
    return element.replace("</svg>", f"{svg_of(drawing.spots)}</svg>") if values else element


@contextmanager
def _drawing(salt: str) -> Iterator[None]:
    """With our settings, and silent about signs that the font lacks: a PNG file has boxes in their places."""
    with mpl.rc_context(_settings(salt)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield


def _settings(salt: str) -> dict[Any, Any]:
    """Matplotlib's own defaults, whatever the user's matplotlibrc says, with text kept as text.

    Without ``parse_math`` a ``$`` in a recipe would be read as mathematics.
    """
    kept = {"backend", "backend_fallback", "interactive", "toolbar", "timezone", "webagg.port"}
    defaults = {key: value for key, value in mpl.rcParamsDefault.items() if key not in kept}
    return defaults | {
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "text.parse_math": False,
        "font.family": ["DejaVu Sans"],
        "axes.unicode_minus": False,
    }


def _for_page(svg: str, *, prefix: str, title: str) -> str:
    """Cut a stand-alone SVG file down to what belongs inside HTML."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL)
    body = body.replace("xlink:href=", "href=")
    opening, inside = body.split(">", 1)
    view_box = re.search(r'viewBox="([^"]*)"', opening)
    inside = re.sub(r'\bid="', f'id="{prefix}-', inside)
    inside = re.sub(r'href="#', f'href="#{prefix}-', inside)
    inside = re.sub(r"url\(#", f"url(#{prefix}-", inside)
    inside = re.sub(r"font: (?:(?:bold|\d{3}) )?([\d.]+)px [^;\"]*", r"font-size: \1px", inside)
    for colour, variable in _CSS.items():
        inside = inside.replace(colour, variable)
    label = escape(title, quote=True)
    box = view_box.group(1) if view_box else f"0 0 {WIDE.width} {WIDE.height}"
    return f'<svg viewBox="{box}" role="img" aria-label="{label}">{inside}'
