"""Ranges of the options of mixers: each check states the range that is allowed and the value given."""

from __future__ import annotations


def check_whole(name: str, value: int, lowest: int, highest: int | None = None) -> None:
    """Raise a ``ValueError`` unless a value is a whole number within a range."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < lowest or (highest is not None and value > highest):
        within = f", {lowest} or more" if highest is None else f" in {lowest}..{highest}"
        raise ValueError(f"{name} must be a whole number{within}, got {value!r}")


def check_odd(name: str, value: int) -> None:
    """Raise a ``ValueError`` unless a value is an odd number, or 0 for none of what it is the width of."""
    check_whole(name, value, 0)
    if value and value % 2 == 0:
        raise ValueError(
            f"{name} must be odd, or 0 for none, got {value}; {value - 1} and {value + 1} would do"
        )


def check_probability(name: str, value: float) -> None:
    """Raise a ``ValueError`` unless a value is a probability below 1."""
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be in [0, 1), got {value!r}")


def check_positive(name: str, value: float) -> None:
    """Raise a ``ValueError`` unless a value is greater than 0."""
    if not value > 0:
        raise ValueError(f"{name} must be greater than 0, got {value!r}")


def check_one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raise a ``ValueError`` unless a value is one of several words."""
    if value not in allowed:
        words = [repr(word) for word in allowed]
        raise ValueError(f"{name} must be {', '.join(words[:-1])} or {words[-1]}, got {value!r}")
