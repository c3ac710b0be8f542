"""How far agents are apart, as it is and as the curvature feels it.

S = (1/K) sum_k (w_k - centroid)(w_k - centroid)'. To second order agents pay Tr(HS) / 2 of excess risk for
it, and their centroid descends J + Tr(HS) / 2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graftwork_decentral.flatness.metrics.flat import Objective
from graftwork_decentral.flatness.metrics.hessian_product import HessianProduct


def consensus_distance(agents: Tensor) -> float:
    """Return Tr S, the mean squared distance of agents ``[agents, parameters]`` from their centroid.

    Raises:
        ValueError: they are no matrix.

    >>> consensus_distance(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    1.0
    """
    return float(_offsets(agents).square().sum(dtype=torch.float64)) / len(agents)


def weighted_consensus_distance(objective: Objective, agents: Tensor) -> float:
    """Return Tr(HS), of the Hessian at the centroid: one product an agent.

    Args:
        objective: whose Hessian.
        agents: ``[agents, parameters]``.

    Raises:
        ValueError: they are no matrix.

    >>> weighted_consensus_distance(lambda w: 3 * (w**2).sum(), torch.tensor([[1.0], [-1.0]]))
    6.0
    """
    offsets = _offsets(agents)
    product = HessianProduct(objective, agents.mean(0))
    weighted = [(offset * product(offset)).sum(dtype=torch.float64) for offset in offsets]
    return float(torch.stack(weighted).mean())


def _offsets(agents: Tensor) -> Tensor:
    if agents.ndim != 2 or not len(agents):
        raise ValueError(f"agents must be [agents, parameters], got {list(agents.shape)}")
    return agents - agents.mean(0)
