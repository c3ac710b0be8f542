"""From a graph to the tensors that mixing some of its rows needs."""

from __future__ import annotations

import torch
from torch import Tensor

from graftwork_decentral.communication.paths.plan import MixPlan
from graftwork_decentral.topology.topology import Topology


def planned(topology: Topology, rows: range, known: Tensor) -> MixPlan:
    """Return how some agents mix what they know.

    Args:
        topology: whose neighbours and weights.
        rows: the agents that mix.
        known: ``[known]``, int64: the agents whose rows are at hand, ``rows`` first.

    >>> from graftwork_decentral.topology import path
    >>> planned(path(3), range(1, 2), torch.tensor([1, 2, 0])).neighbours  # ascending: agent 0, then agent 2
    tensor([[2, 1]])
    """
    own = torch.arange(len(rows))
    dense = topology.mixing_matrix[rows.start : rows.stop, known]
    linked = dense != 0
    linked[own, own] = False
    # By ascending number of the neighbour, whatever the order in which rows are known here.
    order = torch.argsort(known)
    readers, places = linked[:, order].nonzero(as_tuple=True)
    counts = linked.sum(dim=1)
    column = torch.arange(len(readers)) - (counts.cumsum(0) - counts)[readers]
    degree = int(counts.max()) if len(counts) else 0
    neighbours = own[:, None].repeat(1, degree)
    weights = torch.zeros(len(own), degree, dtype=torch.float64)
    neighbours[readers, column] = order[places]
    weights[readers, column] = dense[readers, order[places]]
    return MixPlan(own, neighbours, weights, dense)
