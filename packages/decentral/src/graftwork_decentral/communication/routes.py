"""Which rows travel between two processes in one round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graftwork_decentral.topology.topology import Topology


@dataclass(frozen=True, slots=True)
class Route:
    """The rows of one round with one other process.

    Args:
        peer: the other process.
        sends: agents of this process whose rows it needs, ascending.
        receives: its agents whose rows are needed here, ascending.
    """

    peer: int
    sends: tuple[int, ...]
    receives: tuple[int, ...]


def routes_of(process: int, owner: Sequence[int], topology: Topology) -> tuple[Route, ...]:
    """Return what one process sends and receives, by ascending peer.

    Both ends compute the same from the graph alone, so that nothing need be asked.

    Args:
        process: this one.
        owner: the process of every agent.
        topology: of this step.

    >>> from graftwork_decentral.topology import ring
    >>> routes_of(0, [0, 0, 1, 1], ring(4))
    (Route(peer=1, sends=(0, 1), receives=(2, 3)),)
    """
    sends: dict[int, set[int]] = {}
    receives: dict[int, set[int]] = {}
    for reader, sources in enumerate(topology.neighbours):
        for source in sources:
            if owner[reader] == process != owner[source]:
                receives.setdefault(owner[source], set()).add(source)
            elif owner[source] == process != owner[reader]:
                sends.setdefault(owner[reader], set()).add(source)
    return tuple(
        Route(peer, tuple(sorted(sends.get(peer, ()))), tuple(sorted(receives.get(peer, ()))))
        for peer in sorted(sends.keys() | receives.keys())
    )
