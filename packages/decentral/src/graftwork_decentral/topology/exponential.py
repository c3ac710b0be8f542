"""Exponential graphs: agent i takes from those at distances 1, 2, 4, ... (Ying et al., arXiv:2110.13363).

The static graph uses all distances at every step, the one-peer graph one of them a step, in turn. Neither is
symmetric; both are doubly stochastic. Over ``log2 agents`` consecutive steps the one-peer graph averages
exactly where the number of agents is a power of two, and not elsewhere.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graftwork_decentral.topology.graphs import finished
from graftwork_decentral.topology.topology import Topology, TopologySequence


def static_exponential(agents: int, *, lazy: bool = False, dyadic: bool = True) -> Topology:
    """All distances that are powers of two, at equal weights.

    Args:
        agents: how many.
        lazy: keep half of one's own value besides.
        dyadic: round weights to multiples of 2^-12.

    Raises:
        ValueError: ``agents`` is below 1.

    >>> [round(static_exponential(agents, dyadic=False).gap, 6) for agents in (8, 10, 16)]
    [0.5, 0.4, 0.4]
    """
    distances = _distances(agents)
    matrix = torch.eye(agents, dtype=torch.float64)
    for distance in distances:
        matrix += _shift(agents, distance)
    return finished("static exponential", matrix / (len(distances) + 1), lazy=lazy, dyadic=dyadic)


def one_peer_exponential(agents: int) -> TopologySequence:
    """One peer a step, at distances 1, 2, 4, ... in turn, at equal weights.

    Args:
        agents: how many.

    Raises:
        ValueError: ``agents`` is below 1.

    >>> graphs = one_peer_exponential(8)
    >>> product = graphs.at(2).mixing_matrix @ graphs.at(1).mixing_matrix @ graphs.at(0).mixing_matrix
    >>> bool((product == 1 / 8).all())
    True
    """
    identity = torch.eye(agents, dtype=torch.float64)
    steps = [
        Topology(f"one peer at {distance}", (identity + _shift(agents, distance)) / 2)
        for distance in _distances(agents)
    ]
    return TopologySequence("one-peer exponential", steps or [Topology("alone", identity)])


def _distances(agents: int) -> list[int]:
    if agents < 1:
        raise ValueError(f"agents must be at least 1, got {agents}")
    return [2**power for power in range((agents - 1).bit_length())]


def _shift(agents: int, distance: int) -> Tensor:
    return torch.eye(agents, dtype=torch.float64).roll(distance, dims=1)
