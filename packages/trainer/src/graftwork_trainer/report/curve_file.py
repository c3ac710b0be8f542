"""The curves in ``metrics.jsonl``, read line by line and kept as finely as they can be drawn.

A file may have more lines than a page has pixels, and than memory has room for. Of a metric with many
records, neighbouring ones are gathered into points: their mean, and the lowest and the highest of them.
"""

from __future__ import annotations

import json
import math
import os
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graftwork import GraftworkError
from graftwork_trainer.files import not_readable, open_given

# Several times as many as a figure shows, so that what is gathered here is not seen there.
MOST_POINTS = 1024
# Records that are kept as they are before points are made of them.
_CHUNK = 16 * MOST_POINTS


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
        if step is None or not math.isfinite(step):
            raise GraftworkError(f"{where}: expected the key 'step' with a finite number")
        seconds = number(entry.get("seconds"), where, "seconds")
        seconds = math.nan if seconds is None else seconds
        for name, raw in entry.items():
            if "/" not in name:
                continue
            # Nearly all are floats; a call for each would take as long as all the rest.
            value = raw if type(raw) is float else number(raw, where, name)
            if value is not None:
                of_metric = points.get(name)
                if of_metric is None:
                    of_metric = points[name] = _Points()
                of_metric.add(step, seconds, value)
    return {name: of_metric.curve() for name, of_metric in points.items()}


def number(raw: object, where: str, key: str) -> float | None:
    """A number as float, None where JSON has null or nothing.

    Raises:
        GraftworkError: it is anything else.
    """
    if raw is None or type(raw) is float:
        return raw
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
    name = str(file)
    if not os.path.lexists(file):
        return
    try:
        with open_given(file) as lines:
            for place, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                if torn is not None:
                    raise torn
                where = f"{name}, line {place}"
                try:
                    entry = json.loads(line.decode())
                except (ValueError, RecursionError) as error:
                    torn = GraftworkError(f"{where}: not valid JSON: {error}")
                    continue
                yield where, entry
    except OSError as error:
        raise not_readable(file, error) from error


class _Points:
    """The records of one metric as they come, and in points of many records what went before them."""

    def __init__(self) -> None:
        self._steps: list[float] = []
        self._seconds: list[float] = []
        self._values: list[float] = []
        self._each = 1
        # Of every point: how many records, the sums of the three, lowest and highest value, last step.
        self._gathered = np.empty((0, 7))

    def add(self, step: float, seconds: float, value: float) -> None:
        steps = self._steps
        if steps and step <= steps[-1]:
            self._forget_from(step)
        elif len(steps) > _CHUNK:
            self._gather()
        steps.append(step)
        self._seconds.append(seconds)
        self._values.append(value)

    def curve(self) -> Curve:
        if self._each == 1 and len(self._steps) <= MOST_POINTS:
            return Curve(tuple(self._steps), tuple(self._seconds), tuple(self._values))
        self._gather()
        latest = [self._steps[-1], self._seconds[-1], self._values[-1]]
        counts = self._gathered[:, :1]
        steps, seconds, values = np.vstack([self._gathered[:, 1:4] / counts, latest]).T.tolist()
        lowest, highest = np.vstack([self._gathered[:, 4:6], latest[2:] * 2]).T.tolist()
        return Curve(tuple(steps), tuple(seconds), tuple(values), tuple(lowest), tuple(highest))

    def _forget_from(self, step: float) -> None:
        """Take back what lies at a step and beyond."""
        columns = (self._steps, self._seconds, self._values)
        kept = bisect_left(self._steps, step)
        for column in columns:
            del column[kept:]
        if not kept:
            self._gathered = self._gathered[self._gathered[:, 6] < step]

    def _gather(self) -> None:
        """Make points of all records but the latest: a run's last value is no mean."""
        columns = (self._steps, self._seconds, self._values)
        count = len(self._steps) - 1
        if not count:
            return
        while self._each * MOST_POINTS < count:
            self._each *= 2
        records = np.array([column[:count] for column in columns])
        for column in columns:
            del column[:count]
        starts = np.arange(0, count, self._each)
        ends = np.append(starts[1:], count)
        values = records[2]
        points = np.column_stack(
            [
                ends - starts,
                *np.add.reduceat(records, starts, axis=1),
                np.minimum.reduceat(values, starts),
                np.maximum.reduceat(values, starts),
                records[0][ends - 1],
            ]
        )
        self._gathered = np.vstack([self._gathered, points])
        while len(self._gathered) > MOST_POINTS:
            self._each *= 2
            self._gathered = _halved(self._gathered)


def _halved(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """One point of every two, and the odd one out."""
    starts = np.arange(0, len(points), 2)
    return np.column_stack(
        [
            np.add.reduceat(points[:, :4], starts),
            np.minimum.reduceat(points[:, 4], starts),
            np.maximum.reduceat(points[:, 5], starts),
            np.maximum.reduceat(points[:, 6], starts),
        ]
    )
