"""A measure of one point, taken of every agent and of their centroid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from graftwork_decentral.flatness.estimate import Estimate
from graftwork_decentral.flatness.metrics.flat import Objective


@dataclass(frozen=True, slots=True)
class AgentValues:
    """One measure of all agents.

    Args:
        agents: of each.
        centroid: of the mean of their parameters.
    """

    agents: tuple[float, ...]
    centroid: float

    @property
    def mean(self) -> float:
        """Over agents."""
        return sum(self.agents) / len(self.agents)


def over_agents(measure: Callable[[Tensor], Estimate | Tensor | float], agents: Tensor) -> AgentValues:
    """Apply a measure of a point to each agent and to the centroid.

    Args:
        measure: of a point ``[parameters]``; of an estimate the value is taken.
        agents: ``[agents, parameters]``.

    Raises:
        ValueError: agents are no matrix.

    >>> over_agents(lambda point: point.square().sum(), torch.tensor([[1.0], [3.0]]))
    AgentValues(agents=(1.0, 9.0), centroid=4.0)
    """
    if agents.ndim != 2 or not len(agents):
        raise ValueError(f"agents must be [agents, parameters], got {list(agents.shape)}")
    values = []
    for point in (*agents, agents.mean(0)):
        found = measure(point)
        values.append(found.value if isinstance(found, Estimate) else float(found))
    return AgentValues(tuple(values[:-1]), values[-1])


@torch.no_grad()
def excess_risk_of_agents(objective: Objective, agents: Tensor, minimum_value: float) -> AgentValues:
    """Return J - J(minimum) of each agent and of the centroid; the theory's excess risk is the mean.

    Args:
        objective: J, the mean over agents, on as much data as can be had.
        agents: ``[agents, parameters]``.
        minimum_value: J at the minimum near by, as
            :func:`~graftwork_decentral.flatness.metrics.noiseless_descent` finds it.

    Raises:
        ValueError: agents are no matrix.

    >>> excess_risk_of_agents(lambda w: w.square().sum() + 1, torch.tensor([[1.0], [-1.0]]), 1.0)
    AgentValues(agents=(1.0, 1.0), centroid=0.0)
    """
    return over_agents(lambda point: float(objective(point)) - minimum_value, agents)
