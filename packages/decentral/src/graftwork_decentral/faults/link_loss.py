"""Links that fail at random: at every step each edge is lost with a given probability, both ways at once.

The lost weight moves to the diagonals of both ends, so that every step's matrix stays symmetric and doubly
stochastic::

    W_k = W + sum over lost edges of w_ij (e_i - e_j)(e_i - e_j)'

The sum is positive semidefinite, so that no eigenvalue falls below those of W.
"""

from __future__ import annotations

import numpy as np
import torch

from graftwork import GraftworkError
from graftwork_decentral.draws import uniform
from graftwork_decentral.topology.thinned import ThinnedGraphs
from graftwork_decentral.topology.topology import GraphSequence, Topology

_STREAM = 1


class LinkLoss(ThinnedGraphs):
    """Graphs that lose links.

    Args:
        graphs: when nothing is lost; symmetric.
        probability: of an edge to be lost in a step.
        seed: of the draws, which depend on it, the step and the edge alone.

    Raises:
        ValueError: the probability is not at least 0 and below 1: without any link agents never agree.
        GraftworkError: the graphs are not symmetric: an edge less would leave columns that do not sum to 1.

    >>> from graftwork_decentral.topology import full
    >>> graphs = LinkLoss(full(8), probability=0.5)
    >>> graphs.at(0) == graphs.at(1), graphs.at(0) == LinkLoss(full(8), probability=0.5).at(0)
    (False, True)
    """

    def __init__(self, graphs: GraphSequence, probability: float, seed: int = 0) -> None:
        if not 0 <= probability < 1:
            raise ValueError(
                f"probability must be at least 0 and below 1, where no link is left, got {probability}"
            )
        if not graphs.symmetric:
            raise GraftworkError(
                f"faults.link_loss needs a symmetric topology and {graphs.name!r} is not: without an edge "
                "its columns would not sum to 1, and mixing would move the mean; choose an undirected one"
            )
        name = f"{graphs.name} that loses {probability:.0%} of its links"
        super().__init__(graphs, name, f"links {probability} {seed}")
        self.probability, self.seed = probability, seed
        self._newest: tuple[int, Topology] | None = None

    @property
    def varies(self) -> bool:
        """Whether links are lost, or the graphs change by themselves."""
        return self.probability > 0 or self.graphs.varies

    def at(self, step: int) -> Topology:
        """Return what is left of one step's graph."""
        if self._newest is None or self._newest[0] != step:
            self._newest = (step, self._left(step))
        return self._newest[1]

    def _left(self, step: int) -> Topology:
        whole = self.graphs.at(step)
        matrix = whole.mixing_matrix
        first, second = np.triu(matrix.numpy(), 1).nonzero()
        lost = uniform(self.seed, _STREAM, step, first, second) < self.probability
        if not lost.any():
            return whole
        ends = torch.from_numpy(first[lost]), torch.from_numpy(second[lost])
        weights = matrix[ends]
        left = matrix.clone()
        left[ends] = 0.0
        left[ends[1], ends[0]] = 0.0
        left.diagonal().index_add_(0, ends[0], weights).index_add_(0, ends[1], weights)
        return Topology(f"{self.name}, step {step}", left)
