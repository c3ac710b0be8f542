"""Whether a reproduction draws its picture, said before its work begins."""

from __future__ import annotations

from graftwork_optim_core.plugin import PICTURE


def can_draw() -> bool:
    """Return whether what draws is installed; say so where it is not."""
    if PICTURE.missing:
        print(f"without a picture, which {PICTURE.requirement} draws: pip install '{PICTURE.requirement}'")
    return not PICTURE.missing
