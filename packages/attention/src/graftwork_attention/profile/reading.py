"""What is read off curves of cost over length: slopes, and where two of them cross."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Curve = Mapping[int, float]
"""Cost by number of tokens."""

# Less than this is no difference that a reader should act on.
_ALIKE = 0.03


def slope(curve: Curve) -> float:
    """The exponent of a power law: least squares of log cost over log length; nan of fewer than two points.

    >>> slope({1: 3.0, 2: 12.0, 4: 48.0})
    2.0
    """
    points = [(math.log(length), math.log(cost)) for length, cost in curve.items() if cost > 0]
    if len(points) < 2:
        return math.nan
    middle = [sum(values) / len(points) for values in zip(*points, strict=True)]
    over = sum((x - middle[0]) * (y - middle[1]) for x, y in points)
    exponent: float = over / sum((x - middle[0]) ** 2 for x, _ in points)
    return exponent


@dataclass(frozen=True, slots=True)
class Crossing:
    """How one curve lies to another over the lengths that both have.

    Args:
        kind: ``below``, ``above`` or ``alike`` all the way; or by its last crossing, ``falls`` below from
            ``at`` on or ``rises`` above.
        at: tokens, interpolated between the two lengths beside it.
    """

    kind: Literal["below", "above", "alike", "falls", "rises", "unknown"]
    at: float = math.nan


def crossing(one: Curve, other: Curve) -> Crossing:
    """How ``one`` lies to ``other``; costs are interpolated as power laws.

    >>> crossing({1: 4.0, 4: 16.0}, {1: 1.0, 4: 16.0 * 4})
    Crossing(kind='falls', at=2.0)
    """
    lengths = sorted(set(one) & set(other))
    gaps = [math.log(one[length] / other[length]) for length in lengths]
    if not gaps:
        return Crossing("unknown")
    if all(abs(gap) < _ALIKE for gap in gaps):
        return Crossing("alike")
    for place in range(len(gaps) - 1, 0, -1):
        before, after = gaps[place - 1], gaps[place]
        if (before > 0) != (after > 0):
            share = before / (before - after)
            left, right = math.log(lengths[place - 1]), math.log(lengths[place])
            at = math.exp(left + share * (right - left))
            return Crossing("falls" if after <= 0 else "rises", round(at, 6))
    return Crossing("below" if sum(gaps) < 0 else "above")


def nearest(tokens: float) -> str:
    """A number of tokens as far as a crossing is known: two digits.

    >>> nearest(1234.5), nearest(87.3)
    ('1,200', '87')
    """
    digits = max(0, len(str(int(tokens))) - 2)
    return f"{round(tokens / 10**digits) * 10**digits:,}"


def fastest(curves: Mapping[str, Curve], length: int) -> Sequence[str]:
    """Names by cost at a length, the cheapest first; those without a figure there are left out."""
    known = {name: curve[length] for name, curve in curves.items() if length in curve}
    return sorted(known, key=known.__getitem__)
