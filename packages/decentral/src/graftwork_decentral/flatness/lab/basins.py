"""Which basin runs end up in."""

from __future__ import annotations

from graftwork_decentral.flatness.arrays import ArrayLike
from graftwork_decentral.flatness.estimate import Estimate
from graftwork_decentral.flatness.lab.escape import Region
from graftwork_decentral.flatness.lab.problem import Problem
from graftwork_decentral.flatness.lab.simulation import Simulation
from graftwork_decentral.flatness.methods import Method


def basin_share(
    problem: Problem, method: Method, starts: ArrayLike, basin: Region, *, steps: int, seed: int = 0
) -> Estimate:
    """Return the share of runs whose centroid is in a basin after a number of steps.

    Args:
        problem: what is descended.
        method: one of :data:`~graftwork_decentral.flatness.methods.METHODS`.
        starts: ``[replicas, dimension]``, each of all agents of a run.
        basin: tells which centroids are inside.
        steps: taken.
        seed: of the noise.

    Raises:
        ValueError: an argument is out of its range.

    >>> from graftwork_decentral.flatness.lab.landscapes import DoubleWell
    >>> well = DoubleWell()
    >>> problem = Problem(well, [[0.75, 0.25], [0.25, 0.75]], 0.02)
    >>> basin_share(problem, "diffusion", [[-1.5], [0.0], [1.0], [2.0]], well.in_flat_well, steps=300).value
    0.75
    """
    if steps < 0:
        raise ValueError(f"steps must be 0 or more, got {steps}")
    run = Simulation(problem, method, starts, seed=seed).run(steps)
    return Estimate.of(basin(run.centroids).double())
