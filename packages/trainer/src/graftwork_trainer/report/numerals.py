"""Numbers as a reader wants them: as many digits as the spread supports, and units of a human size."""

from __future__ import annotations

import math
from collections.abc import Iterable

from graftwork_trainer.report.aggregate import Summary

BYTES: tuple[tuple[float, str], ...] = ((1024.0**3, "GiB"), (1024.0**2, "MiB"), (1024.0, "KiB"), (1.0, "B"))
SHORT_TIMES: tuple[tuple[float, str], ...] = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
LONG_TIMES: tuple[tuple[float, str], ...] = ((3600.0, "h"), (60.0, "min"), (1.0, "s"))
_MOST_DIGITS = 5


def unit_for(values: Iterable[float], units: tuple[tuple[float, str], ...]) -> tuple[float, str]:
    """The largest unit in which the largest value is at least 1 and the smallest not below a tenth.

    >>> unit_for([3 * 1024**2, 900 * 1024], BYTES)
    (1048576.0, 'MiB')
    """
    positive = [value for value in values if math.isfinite(value) and value > 0]
    if not positive:
        return units[-1]
    for size, name in units:
        if max(positive) >= size and min(positive) >= size / 10:
            return size, name
    return units[-1]


def number(value: float, decimals: int | None = None) -> str:
    """One number; four significant digits unless ``decimals`` says otherwise.

    >>> number(41.2345), number(9012.3), number(0.00001234), number(41.2345, 1)
    ('41.23', '9,012', '1.234e-05', '41.2')
    """
    if not math.isfinite(value):
        return "not finite"
    if value and not 1e-4 <= abs(value) < 1e9:
        return f"{value:.4g}"
    if decimals is None:
        decimals = max(0, 3 - _exponent(value)) if value else 0
    return f"{value:,.{decimals}f}"


def decimals_of(summary: Summary) -> int | None:
    """Decimals that the standard deviation supports, one digit of it; None where there is no deviation.

    >>> decimals_of(Summary(41.234, 0.31, 41.0, 41.5, 3))
    1
    """
    mean, deviation = summary.mean, summary.deviation
    if not deviation or not math.isfinite(mean):
        return None
    return max(0, min(-_exponent(deviation), _MOST_DIGITS - 1 - (_exponent(mean) if mean else 0)))


def mean_and_deviation(summary: Summary, row_decimals: int | None = None) -> str:
    """``mean ± standard deviation``, the mean alone for a single seed.

    Args:
        row_decimals: the most decimals that another number beside this one has; one more than this number's
            own are then written, so that the two can be compared.

    >>> mean_and_deviation(Summary(41.234, 0.31, 41.0, 41.5, 3))
    '41.2 ± 0.3'
    >>> mean_and_deviation(Summary(41.234, None, 41.234, 41.234, 1))
    '41.23'
    """
    mean, deviation = summary.mean, summary.deviation
    if deviation is None or not math.isfinite(mean):
        return number(mean)
    if mean and not 1e-4 <= abs(mean) < 1e9:
        return f"{mean:.4g} ± {deviation:.1g}"
    decimals = decimals_of(summary)
    if decimals is None:
        return f"{number(mean)} ± 0"
    if row_decimals is not None:
        decimals = max(decimals, min(decimals + 1, row_decimals))
    return f"{number(mean, decimals)} ± {f'{deviation:,.{decimals}f}' if round(deviation, decimals) else '0'}"


def interval(mean: float, low: float, high: float) -> str:
    """A signed number and the ends of its interval, with as many digits as its width supports.

    >>> interval(1.10342, 0.8531, 1.3537)
    '+1.10 [+0.85, +1.35]'
    >>> interval(-2e-7, -4e-7, 1e-9)
    '-2e-07 [-4e-07, +1e-09]'
    """
    half = (high - low) / 2
    largest = max(abs(low), abs(high))
    if largest and not 1e-4 <= largest < 1e9:
        return f"{mean:+.2g} [{low:+.2g}, {high:+.2g}]"
    decimals = max(0, min(1 - _exponent(half), _MOST_DIGITS)) if half else 3
    return f"{mean:+,.{decimals}f} [{low:+,.{decimals}f}, {high:+,.{decimals}f}]"


def percent(ratio: float) -> str:
    """A ratio in percent with two digits, set with a no-break space.

    >>> percent(0.4312).replace("\\u00a0", " "), percent(0.0042).replace("\\u00a0", " ")
    ('43 %', '0.42 %')
    """
    value = 100 * ratio
    digits = max(0, 1 - _exponent(value)) if value else 0
    return f"{value:.{digits}f}\u00a0%"


def compact(value: float) -> str:
    """An axis tick: ``20k`` rather than 20000.

    >>> compact(20000), compact(1500000), compact(0.25)
    ('20k', '1.5M', '0.25')
    """
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= max(size, 1e4):
            return f"{value / size:.4g}{suffix}"
    return f"{value:.4g}"


def _exponent(value: float) -> int:
    return math.floor(math.log10(abs(value)))
