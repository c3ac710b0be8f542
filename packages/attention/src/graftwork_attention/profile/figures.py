"""Figures as they are shown."""

from __future__ import annotations


def seconds(value: float) -> str:
    """Three digits with the unit that fits.

    >>> seconds(0.01234), seconds(2.5), seconds(4.2e-5)
    ('12.3 ms', '2.5 s', '42 µs')
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e6:.3g} µs"


def size(value: float) -> str:
    """Three digits in powers of 1,000.

    >>> size(1.5e6), size(12)
    ('1.5 MB', '12 B')
    """
    for unit, many in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= many:
            return f"{value / many:.3g} {unit}"
    return f"{value:.3g} B"
