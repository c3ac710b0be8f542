"""The metrics of agents as two numbers each: their mean, and the worst agent's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from graftwork import Direction
from graftwork_decentral.communication.communicator import Communicator
from graftwork_trainer.task_members import recorded_directions


def recorded_over_agents(directions: Mapping[str, Direction]) -> dict[str, dict[str, Direction]]:
    """Directions as a run keeps them, those of what :func:`mean_and_worst` makes of metrics among them.

    Args:
        directions: by the task's own names.

    >>> list(recorded_over_agents({"mse": "lower"})["metric_directions"])[-2:]
    ['validation/worst_agent_mse', 'validation/mean_agent_mse']
    """
    of_agents = {f"validation/{name}": better for name, better in _of_agents(directions).items()}
    return {"metric_directions": recorded_directions(directions)["metric_directions"] | of_agents}


def directions_over_agents(directions: Mapping[str, Direction]) -> dict[str, Direction]:
    """Directions of a task's metrics, and of what :func:`mean_and_worst` makes of them.

    >>> directions_over_agents({"mse": "lower"})
    {'mse': 'lower', 'worst_agent_mse': 'lower', 'mean_agent_mse': 'lower'}
    """
    return {**directions, **_of_agents(directions)}


def mean_and_worst(
    own: Sequence[Mapping[str, float]], communicator: Communicator, directions: Mapping[str, Direction]
) -> dict[str, float]:
    """Return ``mean_agent_NAME`` for every metric, and ``worst_agent_NAME`` for those with a direction.

    Args:
        own: metrics of the agents here, the same names on all of them.
        communicator: sums over processes.
        directions: which way metrics are better.
    """
    names = list(own[0])
    table = torch.zeros(communicator.agents, len(names), dtype=torch.float64, device=communicator.device)
    for agent, metrics in zip(communicator.rows, own, strict=True):
        table[agent] = torch.tensor([metrics[name] for name in names], dtype=torch.float64)
    columns = dict(zip(names, communicator.sum(table)[list(communicator.living)].T, strict=True))
    worst = {
        f"worst_agent_{name}": float(column.max() if directions[name] == "lower" else column.min())
        for name, column in columns.items()
        if name in directions
    }
    return {f"mean_agent_{name}": float(column.mean()) for name, column in columns.items()} | worst


def _of_agents(directions: Mapping[str, Direction]) -> dict[str, Direction]:
    return {
        f"{which}_agent_{name}": better for name, better in directions.items() for which in ("worst", "mean")
    }
