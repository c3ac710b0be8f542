"""Graphs of which links are taken away, by faults or with agents that are lost."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod

from graftwork_decentral.topology.topology import GraphSequence, Topology


class ThinnedGraphs(ABC):
    """Graphs made of others, whose links are all that is ever used.

    Args:
        graphs: with all links.
        name: what to call them in a report.
        without: says what is taken away, so that other graphs have another digest.
    """

    def __init__(self, graphs: GraphSequence, name: str, without: object) -> None:
        self.graphs, self.name, self.agents = graphs, name, graphs.agents
        self.digest = hashlib.sha256(f"{graphs.digest} without {without}".encode()).hexdigest()[:16]

    @property
    def symmetric(self) -> bool:
        """Whether the graphs are: a link is taken away both ways."""
        return self.graphs.symmetric

    @property
    def varies(self) -> bool:
        """Whether two steps may differ."""
        return self.graphs.varies

    @property
    def lambda_min(self) -> float:
        """That of the whole graphs, below which losing links does not lead."""
        return self.graphs.lambda_min

    @property
    def support(self) -> GraphSequence:
        """The graphs with all links."""
        return self.graphs

    @abstractmethod
    def at(self, step: int) -> Topology:
        """Return what is left of one step's graph."""
