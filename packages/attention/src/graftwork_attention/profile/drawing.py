"""Curves of cost over length, both axes logarithmic, as SVG that a page holds and its colours draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup, escape

from graftwork_attention.profile.reading import Curve
from graftwork_trainer.page import HUES

WIDTH, HEIGHT = 440, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 84, 12, 42
_DASHES = ("", "6 4", "2 3")
_LINE_HEIGHT = 14


def draw(
    curves: Mapping[str, Curve], lengths: Sequence[int], show: Callable[[float], str], label: str
) -> Markup:
    """Draw.

    Args:
        curves: cost by length, by name; in the order of their colours.
        lengths: ticks of the lower axis.
        show: spells a cost.
        label: what the vertical axis shows.
    """
    costs = [cost for curve in curves.values() for cost in curve.values() if cost > 0]
    if not costs:
        return Markup('<p class="none">nothing was measured</p>')
    across = _Scale(min(lengths), max(lengths), _LEFT, WIDTH - _RIGHT)
    up = _Scale(min(costs) / 1.15, max(costs) * 1.15, HEIGHT - _BOTTOM, _TOP)
    parts = [_axes(across, up, lengths, show, label)]
    ends = _apart({name: up(curve[max(curve)]) for name, curve in curves.items() if curve})
    for number, (name, curve) in enumerate(curves.items()):
        if curve:
            parts.append(_line(name, curve, number, across, up, ends[name], show))
    title = escape(f"{label} by number of tokens, both axes logarithmic: {', '.join(curves)}")
    return Markup('<svg class="curves" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, title, Markup("").join(parts)
    )


class _Scale:
    """From a cost or a length to a place, by its logarithm."""

    def __init__(self, lowest: float, highest: float, begin: float, end: float) -> None:
        self.lowest, self.highest = lowest, highest
        self._begin, self._end = begin, end

    def __call__(self, value: float) -> float:
        if self.highest <= self.lowest:
            return (self._begin + self._end) / 2
        share = math.log(value / self.lowest) / math.log(self.highest / self.lowest)
        return round(self._begin + share * (self._end - self._begin), 1)


def _axes(
    across: _Scale, up: _Scale, lengths: Sequence[int], show: Callable[[float], str], label: str
) -> Markup:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    lines = [
        Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{:,}</text>').format(
            across(length), bottom + 18, length
        )
        for length in lengths
    ]
    for tick in ticks(up.lowest, up.highest):
        y = up(tick)
        lines.append(
            Markup(
                '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>'
                '<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>'
            ).format(_LEFT, right, y, y, _LEFT - 8, y + 4, show(tick))
        )
    lines.append(
        Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">tokens</text>').format(
            (_LEFT + right) / 2, HEIGHT - 8
        )
    )
    return Markup("").join(lines)


def ticks(lowest: float, highest: float) -> list[float]:
    """1, 2 and 5 times the powers of ten between two numbers; of many the powers alone.

    >>> ticks(0.9, 6), ticks(0.5, 2000)
    ([1.0, 2.0, 5.0], [1.0, 10.0, 100.0, 1000.0])
    """
    powers = range(math.floor(math.log10(lowest)), math.ceil(math.log10(highest)) + 1)
    fine = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    found = [tick for tick in fine if lowest <= tick <= highest]
    whole = [10.0**power for power in powers if lowest <= 10.0**power <= highest]
    return found if len(found) <= 7 or len(whole) < 2 else whole


def _line(
    name: str,
    curve: Curve,
    number: int,
    across: _Scale,
    up: _Scale,
    end: float,
    show: Callable[[float], str],
) -> Markup:
    hue = number % len(HUES)
    dashes = _DASHES[number // len(HUES) % len(_DASHES)]
    points = [(across(length), up(cost)) for length, cost in sorted(curve.items())]
    path = Markup('<polyline points="{}" stroke="var(--line-{})" stroke-dasharray="{}"/>').format(
        " ".join(f"{x},{y}" for x, y in points), hue, dashes
    )
    spots = [
        Markup('<circle cx="{}" cy="{}" r="3.5" fill="var(--line-{})"><title>{}</title></circle>').format(
            x, y, hue, f"{name}, {length:,} tokens: {show(cost)}"
        )
        for (x, y), (length, cost) in zip(points, sorted(curve.items()), strict=True)
    ]
    x, _ = points[-1]
    text = Markup('<text class="name" x="{}" y="{}" fill="var(--text-{})">{}</text>').format(
        x + 9, end + 4, hue, name
    )
    return path + Markup("").join(spots) + text


def _apart(places: Mapping[str, float]) -> dict[str, float]:
    """Heights of the names beside the ends of lines, moved so that none covers another."""
    names = sorted(places, key=places.__getitem__)
    moved: dict[str, float] = {}
    lowest = _TOP + 4.0
    for index, name in enumerate(names):
        room = HEIGHT - _BOTTOM - _LINE_HEIGHT * (len(names) - 1 - index)
        moved[name] = min(max(places[name], lowest), room)
        lowest = moved[name] + _LINE_HEIGHT
    return moved
