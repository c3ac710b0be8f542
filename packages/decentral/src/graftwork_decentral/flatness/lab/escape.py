"""When runs leave a basin: first exits with censoring, and how unlike agents must be to leave without noise.

A run that is still inside at the limit is censored. With exponential waiting times the mean exit time is
estimated without bias from all replicas: the sum of all times, censored ones at the limit, over the number
of exits; its standard error is the mean over the root of that number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from graftwork_decentral.flatness.arrays import ArrayLike, as_float64
from graftwork_decentral.flatness.lab.problem import Problem
from graftwork_decentral.flatness.lab.simulation import Simulation
from graftwork_decentral.flatness.methods import Method

Region = Callable[[Tensor], Tensor]
"""From centroids ``[replicas, dimension]`` to a mask ``[replicas]``."""

_SECTIONS = 32


@dataclass(frozen=True, slots=True)
class ExitTimes:
    """First exits of replicas, some of which may never have been seen.

    Args:
        total_time: steps of all replicas inside, summed.
        exits: how many left.
        replicas: how many started.

    >>> times = ExitTimes(total_time=4000, exits=25, replicas=100)
    >>> times.mean, times.standard_error, times.censored
    (160.0, 32.0, 0.75)
    """

    total_time: int
    exits: int
    replicas: int

    @property
    def mean(self) -> float:
        """Steps to the exit; infinite if none left."""
        return self.total_time / self.exits if self.exits else math.inf

    @property
    def standard_error(self) -> float:
        """Of the mean."""
        return self.mean / math.sqrt(self.exits) if self.exits else math.inf

    @property
    def censored(self) -> float:
        """Share of replicas that were still inside at the limit."""
        return 1 - self.exits / self.replicas


def exit_times(
    problem: Problem,
    method: Method,
    start: ArrayLike,
    outside: Region,
    *,
    limit: int,
    replicas: int = 200,
    seed: int = 0,
) -> ExitTimes:
    """Run until centroids are outside.

    Args:
        problem: what is descended.
        method: one of :data:`~graftwork_decentral.flatness.methods.METHODS`.
        start: ``[dimension]``, of all agents.
        outside: tells which centroids have left.
        limit: steps after which a run is given up.
        replicas: how many.
        seed: of the noise.

    Raises:
        ValueError: an argument is out of its range.

    >>> from graftwork_decentral.flatness.lab.landscapes import DoubleWell
    >>> well = DoubleWell()
    >>> problem = Problem(well, [[0.75, 0.25], [0.25, 0.75]], 0.02, [[18.0**2]])
    >>> exit_times(problem, "consensus", [-1.0], well.in_flat_well, limit=500, replicas=20).exits
    20
    """
    if limit < 1 or replicas < 1:
        raise ValueError(f"limit and replicas must be 1 or more, got {limit} and {replicas}")
    point = as_float64("start", start)
    run = Simulation(problem, method, point.expand(replicas, -1), seed=seed)
    inside = torch.ones(replicas, dtype=torch.bool)
    remaining, total = replicas, 0
    for _ in range(limit):
        run.step()
        total += remaining
        inside &= ~outside(run.centroids)
        remaining = int(inside.sum())
        if not remaining:
            break
        # To drop every replica at once would cost more than to carry a few on.
        if remaining <= 0.75 * len(inside):
            run.keep(inside)
            inside = inside[inside]
    return ExitTimes(total, replicas - remaining, replicas)


def escape_threshold(
    problem: Problem,
    method: Method,
    start: ArrayLike,
    outside: Region,
    *,
    low: float,
    high: float,
    resolution: float = 0.005,
    steps: int = 5_000,
) -> float:
    """Return the smallest factor of the problem's heterogeneity that drives agents out without any noise.

    Sections instead of halves are tried at once, as replicas of one run, and the first that leaves is kept.

    Args:
        problem: its noise is left out.
        method: one of :data:`~graftwork_decentral.flatness.methods.METHODS`.
        start: ``[dimension]``, of all agents.
        outside: tells which centroids have left.
        low: a factor at which they stay.
        high: a factor at which they leave.
        resolution: to which the factor is found.
        steps: after which agents are said to stay.

    Returns:
        The middle of the last bracket; infinite if they stay even at ``high``.

    Raises:
        ValueError: the bracket is empty, or they leave at ``low`` already.

    >>> from graftwork_decentral.flatness.lab.landscapes import DoubleWell
    >>> well = DoubleWell()
    >>> problem = Problem(well, [[0.75, 0.25], [0.25, 0.75]], 0.02, heterogeneity=[[1.0], [-1.0]])
    >>> escape_threshold(problem, "centralized", [-1.0], well.in_flat_well, low=0, high=20, steps=100)
    inf
    """
    if not (0 <= low < high and resolution > 0):
        raise ValueError(
            f"low and high must be in order, resolution positive, got {low}, {high} and {resolution}"
        )
    silent = Problem(
        problem.landscape, problem.mixing_matrix, problem.step_size, heterogeneity=problem.heterogeneity
    )
    point = as_float64("start", start)
    while True:
        factors = torch.linspace(low, high, _SECTIONS + 1, dtype=torch.float64)
        left = _leaves(silent, method, point, outside, factors, steps)
        if bool(left[0]):
            raise ValueError(f"low must be a factor at which agents stay, got {low}")
        if not bool(left[-1]):
            return math.inf
        first = int(left.int().argmax())
        low, high = float(factors[first - 1]), float(factors[first])
        if high - low <= resolution:
            return (low + high) / 2


def _leaves(
    problem: Problem, method: Method, start: Tensor, outside: Region, factors: Tensor, steps: int
) -> Tensor:
    run = Simulation(problem, method, start.expand(len(factors), -1), heterogeneity_scales=factors)
    left = torch.zeros(len(factors), dtype=torch.bool)
    before = run.models.clone()
    for _ in range(steps):
        run.step()
        left |= outside(run.centroids)
        if bool(left.all()) or torch.equal(before, run.models):
            break
        before = run.models
    return left
