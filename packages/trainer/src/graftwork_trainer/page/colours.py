"""Colours that tell things apart, on light and on dark ground.

They are Okabe and Ito's, told apart by colour-blind readers. A page names them by number, as
``var(--line-0)`` and ``var(--text-0)``, and the reader's scheme decides.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hue:
    """One colour on light and on dark ground, for lines and for text, which needs more contrast."""

    line: str
    text: str
    line_on_dark: str
    text_on_dark: str


HUES = (
    Hue("#0072b2", "#00629a", "#56a8e0", "#7dbdeb"),
    Hue("#d55e00", "#b04c00", "#f08a3c", "#f5a566"),
    Hue("#009e73", "#007556", "#2fbf94", "#5fd0ad"),
    Hue("#cc79a7", "#a3487a", "#dd92bb", "#e9b0cf"),
    Hue("#e69f00", "#8a5d00", "#efb53a", "#f3c766"),
    Hue("#4b4f54", "#3a3e43", "#c3c9cf", "#d3d8dd"),
    Hue("#56b4e9", "#2277a6", "#8fd0f5", "#aeddf8"),
)
