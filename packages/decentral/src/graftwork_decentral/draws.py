"""Draws that depend on their names alone: the same on every process, asked for in any order.

``splitmix64`` (Steele, Lea and Flood, OOPSLA 2014) over the numbers one after the other.
"""

from __future__ import annotations

_MASK = 2**64 - 1


def drawn_seed(*numbers: int) -> int:
    """Return 64 bits that look random, as a function of some whole numbers.

    >>> drawn_seed(0, 3, 1) == drawn_seed(0, 3, 1) != drawn_seed(0, 1, 3)
    True
    """
    state = 0
    for number in numbers:
        state = _mixed((state ^ (number & _MASK)) + 0x9E3779B97F4A7C15 & _MASK)
    return state


def drawn_uniform(*numbers: int) -> float:
    """Return a float in [0, 1) as a function of some whole numbers.

    >>> 0 <= drawn_uniform(7, 1, 2) < 1
    True
    """
    return (drawn_seed(*numbers) >> 11) / 2**53


def _mixed(value: int) -> int:
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _MASK
    return value ^ (value >> 31)
