"""What a mixing matrix becomes when agents are cut off or gone.

On a symmetric graph the weight of a lost edge moves to the diagonals of both of its ends, which keeps the
matrix symmetric and doubly stochastic and raises no eigenvalue's distance below::

    W' = W + sum over lost edges of w_ij (e_i - e_j)(e_i - e_j)',     so that  lambda_min(W') >= lambda_min(W)

On a directed one that would leave columns that do not sum to 1. There those who took from a lost agent take
from those whom it took from (the stochastic complement, with L the lost and K the kept)::

    W'_KK = W_KK + W_KL (I - W_LL)^-1 W_LK

whose rows and columns sum to 1 again (derived here). Agents keep their numbers: a lost one stands alone.
"""

from __future__ import annotations

from collections.abc import Collection

import networkx as nx
import torch

from graftwork import GraftworkError
from graftwork_decentral.topology.thinned import ThinnedGraphs
from graftwork_decentral.topology.topology import GraphSequence, Topology

_STEPS_LOOKED_AT = 64


def without_agents(topology: Topology, lost: Collection[int]) -> Topology:
    """Return the graph in which some agents exchange with nobody.

    Args:
        topology: of all.
        lost: agents.

    Raises:
        ValueError: an agent is not there.

    >>> from graftwork_decentral.topology import ring
    >>> without_agents(ring(4, dyadic=False), [3]).neighbours
    ((1,), (0, 2), (1,), ())
    """
    gone = sorted(set(lost))
    if gone and not (gone[0] >= 0 and gone[-1] < topology.agents):
        raise ValueError(f"lost must be agents 0..{topology.agents - 1}, got {gone}")
    if not gone:
        return topology
    matrix = topology.mixing_matrix.clone()
    if topology.symmetric:
        leaving = matrix[:, gone].sum(dim=1)
        matrix[:, gone] = 0.0
        matrix[gone] = 0.0
        matrix.diagonal().add_(leaving)
        matrix[gone, gone] = 1.0
        return Topology(f"{topology.name} without {_names(gone)}", matrix)
    # Those that nobody kept takes from need no bypass, and would make the inverse singular.
    kept = [agent for agent in range(topology.agents) if agent not in gone]
    inner = torch.eye(len(gone), dtype=matrix.dtype) - matrix[gone][:, gone]
    bypass = matrix[kept][:, gone] @ torch.linalg.pinv(inner) @ matrix[gone][:, kept]
    following = torch.eye(topology.agents, dtype=matrix.dtype)
    block = matrix[kept][:, kept] + bypass
    following[torch.tensor(kept)[:, None], torch.tensor(kept)] = block.clamp(min=0.0)
    return Topology(f"{topology.name} without {_names(gone)}", following)


class Survivors(ThinnedGraphs):
    """The graphs of those who are left; the others keep their numbers and exchange with nobody.

    Args:
        graphs: of all.
        lost: agents.

    Raises:
        GraftworkError: those who are left cannot all reach each other.

    >>> from graftwork_decentral.topology import ring
    >>> Survivors(ring(5), [2]).at(0).neighbours
    ((1, 4), (0,), (), (4,), (0, 3))
    """

    def __init__(self, graphs: GraphSequence, lost: Collection[int]) -> None:
        self.lost = tuple(sorted(set(lost)))
        name = f"{graphs.name} without {_names(self.lost)}" if self.lost else graphs.name
        super().__init__(graphs, name, self.lost)
        self._kept: dict[str, Topology] = {}
        self._connected()

    @property
    def support(self) -> GraphSequence:
        """The graphs with all links that are ever used."""
        below = getattr(self.graphs, "support", None)
        return self if below is None else Survivors(below, self.lost)

    def at(self, step: int) -> Topology:
        """Return the graph of one step."""
        whole = self.graphs.at(step)
        if whole.digest not in self._kept:
            if len(self._kept) >= _STEPS_LOOKED_AT:
                self._kept.clear()
            self._kept[whole.digest] = without_agents(whole, self.lost)
        return self._kept[whole.digest]

    def _connected(self) -> None:
        reach: nx.Graph[int] = nx.Graph()
        reach.add_nodes_from(agent for agent in range(self.agents) if agent not in self.lost)
        for step in range(_STEPS_LOOKED_AT if self.varies else 1):
            linked = self.at(step).mixing_matrix.nonzero().tolist()
            reach.add_edges_from(
                pair for pair in linked if pair[0] not in self.lost and pair[1] not in self.lost
            )
        parts = sorted((sorted(part) for part in nx.connected_components(reach)), key=len)
        if len(parts) != 1:
            what = (
                f"agents {', '.join(map(str, parts[0]))} reach none of the others"
                if parts
                else "nobody is left"
            )
            raise GraftworkError(
                f"topology {self.graphs.name!r} falls into {len(parts)} parts without {_names(self.lost)}: "
                f"{what}, so that those who are left cannot agree; start again from a checkpoint, on a "
                "topology with more edges (ring, torus, hypercube)"
            )


def _names(agents: Collection[int]) -> str:
    return ("agent " if len(agents) == 1 else "agents ") + ", ".join(map(str, agents))
