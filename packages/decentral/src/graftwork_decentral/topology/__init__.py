"""Graphs of agents with doubly stochastic weights, fixed or changing from step to step."""

from graftwork_decentral.topology.exponential import one_peer_exponential, static_exponential
from graftwork_decentral.topology.graphs import (
    erdos_renyi,
    from_edges,
    from_networkx,
    full,
    hypercube,
    path,
    ring,
    star,
    torus,
)
from graftwork_decentral.topology.topology import GraphSequence, Topology, TopologySequence

__all__ = [
    "GraphSequence",
    "Topology",
    "TopologySequence",
    "ring",
    "path",
    "star",
    "full",
    "torus",
    "hypercube",
    "erdos_renyi",
    "static_exponential",
    "one_peer_exponential",
    "from_edges",
    "from_networkx",
]
