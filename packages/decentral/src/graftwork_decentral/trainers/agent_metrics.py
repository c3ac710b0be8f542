"""The metrics of agents as two numbers each: their mean, and the worst agent's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from graftwork_decentral.communication.communicator import Communicator

_LOWER_IS_BETTER = ("loss", "perplexity", "error", "distance", "bits", "nats", "risk", "regret")


def lower_is_better(metric: str) -> bool:
    """Whether a metric is one of those that training brings down, by its name.

    >>> lower_is_better("perplexity"), lower_is_better("accuracy")
    (True, False)
    """
    return any(word in metric for word in _LOWER_IS_BETTER)


def over_agents(own: Sequence[Mapping[str, float]], communicator: Communicator) -> dict[str, float]:
    """Return ``mean_agent_NAME`` and ``worst_agent_NAME`` for every metric.

    Args:
        own: metrics of the agents here, the same names on all of them.
        communicator: sums over processes.
    """
    names = list(own[0])
    table = torch.zeros(communicator.agents, len(names), dtype=torch.float64, device=communicator.device)
    for agent, metrics in zip(communicator.rows, own, strict=True):
        table[agent] = torch.tensor([metrics[name] for name in names], dtype=torch.float64)
    table = communicator.sum(table)[list(communicator.living)]
    means = {f"mean_agent_{name}": float(column.mean()) for name, column in zip(names, table.T, strict=True)}
    worst = {
        f"worst_agent_{name}": float(column.max() if lower_is_better(name) else column.min())
        for name, column in zip(names, table.T, strict=True)
    }
    return means | worst
