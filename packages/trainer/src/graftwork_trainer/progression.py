"""How far a training is, and which of its evaluations was the best."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from graftwork import Direction, GraftworkError


@dataclass
class Progression:
    """What a training carries from step to step besides weights and moments, saved with each checkpoint.

    Args:
        best_by: the metric that is judged by.
        step: steps taken.
        best: its best value so far; None before there is one.
        best_step: whose weights are kept as the best; 0 while there are none.
        best_metrics: of these weights, named ``validation/...``.
        evaluations_since_best: evaluations that did not beat it.
        metrics: of the latest evaluation, likewise named.
        units: tokens, or what else the task counts, that it was trained on; None where an earlier part did
            not count them.

    >>> progression = Progression("loss")
    >>> [progression.take_evaluation({"loss": loss}, "lower") for loss in (2.0, 1.0, 1.5)]
    [True, True, False]
    >>> progression.best, progression.evaluations_since_best
    (1.0, 1)
    """

    best_by: str
    step: int = 0
    best: float | None = None
    best_step: int = 0
    best_metrics: dict[str, float] = field(default_factory=dict)
    evaluations_since_best: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    units: int | None = 0

    def take_units(self, units: int) -> None:
        """Count in what a step was taken on."""
        if self.units is not None:
            self.units += units

    def judge_by(self, metric: str) -> None:
        """Begin to look for the best anew where another metric was judged by."""
        if metric != self.best_by:
            self.best_by, self.best, self.best_step, self.best_metrics = metric, None, 0, {}
            self.evaluations_since_best = 0

    def take_evaluation(self, metrics: Mapping[str, float], direction: Direction) -> bool:
        """Remember an evaluation; return whether it is the best so far.

        Args:
            metrics: by the task's own names; where the one that is judged by is not among them, or is no
                number, the evaluation is not the best.
            direction: which way it is better.
        """
        self.metrics = {f"validation/{name}": value for name, value in metrics.items()}
        value, best = metrics.get(self.best_by, math.nan), self.best
        better = not math.isnan(value) and (
            best is None or (value < best if direction == "lower" else value > best)
        )
        self.best = value if better else best
        self.evaluations_since_best = 0 if better else self.evaluations_since_best + 1
        return better


def direction_of(metric: str, directions: Mapping[str, Direction]) -> Direction:
    """Which way a metric is better.

    Raises:
        GraftworkError: nobody says so.
    """
    known: dict[str, Direction] = {"loss": "lower", **directions}
    if metric not in known:
        raise GraftworkError(
            f"trainer.best_by is {metric!r}, of which the task does not say which way is better; it says so "
            f"of {', '.join(known)}"
        )
    return known[metric]
