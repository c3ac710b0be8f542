"""The curves in ``metrics.jsonl``, read line by line and kept as finely as they can be drawn.

A file may have more lines than a page has pixels, and than memory has room for. Of a metric with many
records, neighbouring ones are gathered into points: their mean, and the lowest and the highest of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from graftwork import GraftworkError

# Several times as many as a figure shows, so that what is gathered here is not seen there.
MOST_POINTS = 1024


@dataclass(frozen=True, slots=True)
class Curve:
    """One metric of one run, in order of steps.

    Args:
        steps: of the points; where a point stands for several records, their mean. The last is a record's.
        seconds: trained by then; nan where the run did not record it.
        values: likewise.
        lowest: of the records that a point stands for; empty where each stands for one.
        highest: likewise.
    """

    steps: tuple[float, ...]
    seconds: tuple[float, ...]
    values: tuple[float, ...]
    lowest: tuple[float, ...] = ()
    highest: tuple[float, ...] = ()

    def value_at(self, step: float) -> float:
        """The last value up to a step, or the first one where all are later."""
        return next(
            (y for x, y in zip(self.steps[::-1], self.values[::-1], strict=True) if x <= step), self.values[0]
        )


def read_curves(file: Path) -> dict[str, Curve]:
    """Collect the curves of a run by the full names of their metrics.

    Where a step goes back, as after a resume, what lay beyond it did not happen. A torn last line is dropped.

    Raises:
        GraftworkError: a line before the last is no JSON, or one is not what a record is.
    """
    points: dict[str, _Points] = {}
    for where, entry in _records(file):
        if not isinstance(entry, dict):
            raise GraftworkError(f"{where}: expected a JSON object, found {type(entry).__name__}")
        step = number(entry.get("step"), where, "step")
        if step is None:
            raise GraftworkError(f"{where}: expected the key 'step' with a number")
        seconds = number(entry.get("seconds"), where, "seconds")
        for name, raw in entry.items():
            if "/" in name and (value := number(raw, where, name)) is not None:
                points.setdefault(name, _Points()).add(step, math.nan if seconds is None else seconds, value)
    return {name: of_metric.curve() for name, of_metric in points.items()}


def number(raw: object, where: str, key: str) -> float | None:
    """A number as float, None where JSON has null or nothing.

    Raises:
        GraftworkError: it is anything else.
    """
    if raw is None:
        return None
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise GraftworkError(f"{where}: expected a number for {key!r}, got {raw!r}")
    try:
        return float(raw)
    except OverflowError:
        raise GraftworkError(
            f"{where}: expected a number for {key!r}, got one beyond a float's range"
        ) from None


def _records(file: Path) -> Iterator[tuple[str, object]]:
    """What each line holds, with its place for messages."""
    torn: GraftworkError | None = None
    try:
        with file.open("rb") as lines:
            for place, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                if torn is not None:
                    raise torn
                where = f"{file}, line {place}"
                try:
                    entry = json.loads(line)
                except (ValueError, RecursionError) as error:
                    torn = GraftworkError(f"{where}: not valid JSON: {error}")
                    continue
                yield where, entry
    except FileNotFoundError:
        return
    except OSError as error:
        raise GraftworkError(f"{file}: cannot be read: {error.strerror}") from error


class _Point:
    """Neighbouring records: how many, their sums, their extremes, and the last step of them."""

    __slots__ = ("count", "end", "highest", "lowest", "seconds", "step", "value")

    def __init__(self, step: float, seconds: float, value: float) -> None:
        self.count, self.end = 1, step
        self.step, self.seconds, self.value = step, seconds, value
        self.lowest = self.highest = value

    def take(self, other: _Point) -> _Point:
        self.count, self.end = self.count + other.count, other.end
        self.step, self.seconds = self.step + other.step, self.seconds + other.seconds
        self.value += other.value
        self.lowest, self.highest = min(self.lowest, other.lowest), max(self.highest, other.highest)
        return self


class _Points:
    """The points of one metric: a record each, until there are too many; then twice as many as before."""

    def __init__(self) -> None:
        self._each = 1
        self._points: list[_Point] = []

    def add(self, step: float, seconds: float, value: float) -> None:
        points = self._points
        while points and points[-1].end >= step:
            points.pop()
        # The latest record stays by itself: a run's last value is no mean.
        if len(points) > 1 and points[-2].count < self._each:
            points[-2].take(points.pop())
        elif len(points) > MOST_POINTS:
            latest = points.pop()
            self._points = points = [
                points[place].take(points[place + 1]) for place in range(0, MOST_POINTS, 2)
            ] + [latest]
            self._each *= 2
        points.append(_Point(step, seconds, value))

    def curve(self) -> Curve:
        points = self._points
        gathered = self._each > 1
        return Curve(
            tuple(point.step / point.count for point in points),
            tuple(point.seconds / point.count for point in points),
            tuple(point.value / point.count for point in points),
            tuple(point.lowest for point in points) if gathered else (),
            tuple(point.highest for point in points) if gathered else (),
        )
