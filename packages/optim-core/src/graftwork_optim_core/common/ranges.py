"""Ranges of options: each check states the range that is allowed and the value that was given."""

from __future__ import annotations

import math
from collections.abc import Sequence


def require_betas(betas: Sequence[float]) -> None:
    """Raise a ``ValueError`` unless these are Adam's two decay rates."""
    require(
        len(betas) == 2 and all(is_number(beta) and 0 <= beta < 1 for beta in betas),
        "betas",
        "two numbers in [0, 1)",
        betas,
    )


def require_positive(name: str, value: object) -> None:
    """Raise a ``ValueError`` unless a value is a number greater than 0."""
    require(isinstance(value, (int, float)) and is_number(value) and value > 0, name, "greater than 0", value)


def require_whole(name: str, value: object, lowest: int, highest: int | None = None) -> None:
    """Raise a ``ValueError`` unless a value is a whole number within a range."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    holds = whole and lowest <= value and (highest is None or value <= highest)  # type: ignore[operator]
    allowed = (
        f"a whole number in {lowest}..{highest}"
        if highest is not None
        else f"a whole number, {lowest} or more"
    )
    require(holds, name, allowed, value)


def require_one_of(name: str, value: object, allowed: Sequence[str]) -> None:
    """Raise a ``ValueError`` unless a value is one of several words."""
    words = [repr(word) for word in allowed]
    require(
        value in allowed, name, f"{', '.join(words[:-1])} or {words[-1]}" if words[1:] else words[0], value
    )


def is_number(value: object) -> bool:
    """Whether a value is a finite number and not a boolean."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def require(holds: bool, name: str, allowed: str, value: object) -> None:
    """Raise a ``ValueError`` that states the allowed range and the value, unless the condition holds."""
    if not holds:
        raise ValueError(f"{name} must be {allowed}, got {value!r}")
