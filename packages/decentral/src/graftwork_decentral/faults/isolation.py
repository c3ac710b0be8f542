"""Agents that are cut off for a while: they go on alone, and so do the others without them."""

from __future__ import annotations

from collections.abc import Sequence

from graftwork_decentral.communication.survivors import without_agents
from graftwork_decentral.topology.thinned import ThinnedGraphs
from graftwork_decentral.topology.topology import GraphSequence, Topology


class Isolation(ThinnedGraphs):
    """Graphs in which some agents exchange with nobody during some steps.

    Args:
        graphs: otherwise.
        agents_cut_off: which.
        first_step: from which.
        last_step: up to which, it included.

    Raises:
        ValueError: an agent is not there, or the steps are not in order.

    >>> from graftwork_decentral.topology import ring
    >>> graphs = Isolation(ring(5), [2], first_step=10, last_step=19)
    >>> graphs.at(9).neighbours[2], graphs.at(10).neighbours[2], graphs.at(20).neighbours[2]
    ((1, 3), (), (1, 3))
    """

    def __init__(
        self, graphs: GraphSequence, agents_cut_off: Sequence[int], *, first_step: int, last_step: int
    ) -> None:
        cut_off = tuple(sorted(set(agents_cut_off)))
        if not cut_off or not (cut_off[0] >= 0 and cut_off[-1] < graphs.agents):
            raise ValueError(
                f"agents_cut_off must be some of 0..{graphs.agents - 1}, got {list(agents_cut_off)}"
            )
        if not 0 <= first_step <= last_step:
            raise ValueError(
                f"first_step must be at least 0 and at most last_step, got {first_step} and {last_step}"
            )
        span = f"agents {', '.join(map(str, cut_off))} cut off {first_step} to {last_step}"
        super().__init__(graphs, f"{graphs.name}, {span}", span)
        self.cut_off, self.first_step, self.last_step = cut_off, first_step, last_step
        self._kept: dict[str, Topology] = {}

    @property
    def varies(self) -> bool:
        """True."""
        return True

    def at(self, step: int) -> Topology:
        """Return the graph of one step."""
        whole = self.graphs.at(step)
        if not self.first_step <= step <= self.last_step:
            return whole
        if whole.digest not in self._kept:
            self._kept = {whole.digest: without_agents(whole, self.cut_off)}
        return self._kept[whole.digest]
