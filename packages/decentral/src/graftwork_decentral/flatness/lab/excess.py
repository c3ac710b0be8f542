"""Excess risk of simulated runs, to be held beside the exact one."""

from __future__ import annotations

import torch

from graftwork_decentral.flatness.arrays import ArrayLike, as_float64
from graftwork_decentral.flatness.estimate import Estimate
from graftwork_decentral.flatness.lab.problem import Problem
from graftwork_decentral.flatness.lab.simulation import Simulation
from graftwork_decentral.flatness.methods import Method


def simulated_excess_risk(
    problem: Problem,
    method: Method,
    minimum: ArrayLike,
    *,
    first: int,
    last: int,
    replicas: int = 200,
    seed: int = 0,
) -> Estimate:
    """Start at a minimum and average J - J(minimum) over agents, replicas and a window of steps.

    Args:
        problem: what is descended.
        method: one of :data:`~graftwork_decentral.flatness.methods.METHODS`.
        minimum: ``[dimension]``, where all start.
        first: step after which the window starts; equal to ``last`` for a snapshot.
        last: step after which it ends, itself included.
        replicas: 2 or more.
        seed: of the noise.

    Returns:
        The mean, with a standard error over replicas, which are independent as steps are not.

    Raises:
        ValueError: an argument is out of its range.

    >>> from graftwork_decentral.flatness.lab.landscapes import Quadratic
    >>> problem = Problem(Quadratic([[1.0]]), [[0.75, 0.25], [0.25, 0.75]], 0.1, [[1.0]])
    >>> found = simulated_excess_risk(problem, "centralized", [0.0], first=100, last=400)
    >>> abs(found.value - 0.1 / (4 * 2) / 0.95) < 4 * found.standard_error
    True
    """
    if not 0 <= first <= last:
        raise ValueError(f"first and last must be 0 or more and in order, got {first} and {last}")
    if replicas < 2:
        raise ValueError(f"replicas must be 2 or more, got {replicas}")
    point = as_float64("minimum", minimum)
    run = Simulation(problem, method, point.expand(replicas, -1), seed=seed).run(first)
    total = torch.zeros(replicas, dtype=torch.float64)
    for taken in range(first, last + 1):
        if taken > first:
            run.step()
        total += problem.landscape.value(run.models).mean(1)
    return Estimate.of(total / (last - first + 1) - problem.landscape.value(point))
