"""Whether agents that exchange on a graph come to agree.

Mixing with a doubly stochastic W takes all disagreement away in the long run exactly where every eigenvalue
but the mean's lies inside the unit circle. A further eigenvalue 1 means that the graph falls apart; another
of modulus 1 (-1 with two groups) that groups of agents swap what they hold for ever. Of graphs that take
turns the same is asked of their product over one turn of all.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graftwork import GraftworkError
from graftwork_decentral.topology.spectrum import Spectrum
from graftwork_decentral.topology.thinned import ThinnedGraphs
from graftwork_decentral.topology.topology import GraphSequence, Topology, TopologySequence

_SMALLEST_GAP = 1e-9
"""Of ``1 - |lambda|``: agents would need a billion steps to agree, and rounding is less by far."""


def validate_connected(graphs: GraphSequence) -> None:
    """Refuse graphs that fall apart. Links that faults take away for a while count as there.

    Args:
        graphs: of every step; of those that change only a :class:`~.topology.TopologySequence` says in how
            many steps all had their turn, so that others are taken as they are.

    Raises:
        GraftworkError: some agents never hear of others, directly or through others.

    >>> from graftwork_decentral.topology import one_peer_exponential
    >>> validate_connected(one_peer_exponential(6))
    """
    turn = _turn(graphs)
    if turn is None:
        return
    who = f"topology {graphs.name!r} of {graphs.agents} agents{_over(graphs)}"
    if (apart := said_apart(_links(graphs))) is not None:
        raise GraftworkError(f"{who} {apart}; join the parts by further edges")
    parts = _parts(turn != 0)
    if len(parts) > 1:
        raise GraftworkError(
            f"{who} undoes its own exchanges, so that they cannot agree: behind each turn of all, "
            f"{_named(min(parts, key=len), 'holds', 'hold')} nothing of any other; give them more "
            "weight of their own (lazy weights) or another order"
        )


def validate_agreement(graphs: GraphSequence) -> None:
    """Refuse graphs on which agents never agree.

    Args:
        graphs: of every step, see :func:`validate_connected`.

    Raises:
        GraftworkError: the graph falls apart, or has besides the mean's another eigenvalue of modulus 1.

    >>> swap = Topology("swap", torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    >>> validate_agreement(swap)
    Traceback (most recent call last):
        ...
    graftwork.errors.GraftworkError: agents on topology 'swap' never agree: ...
    """
    value = lasting_disagreement(graphs)
    if value is None:
        return
    validate_connected(graphs)
    real = abs(value.imag) < _SMALLEST_GAP
    shown = f"the eigenvalue {value.real:.6g}" if real else f"an eigenvalue of modulus {abs(value):.6g}"
    raise GraftworkError(
        f"agents on topology {graphs.name!r} never agree: besides the mean's its mixing matrix"
        f"{_over(graphs)} has {shown}, and 1 - |lambda| must be above {_SMALLEST_GAP:g}; "
        "give agents more weight of their own (lazy weights, topology.lazy = true), and each other enough"
    )


def lasting_disagreement(graphs: GraphSequence) -> complex | None:
    """Return the eigenvalue of a disagreement that mixing does not take away; None where there is none.

    Args:
        graphs: of every step.

    >>> from graftwork_decentral.topology import ring
    >>> lasting_disagreement(ring(8)) is None
    True
    """
    fixed = _whole(graphs)
    if isinstance(fixed, Topology):
        others = fixed.spectrum.others
    else:
        turn = _turn(graphs)
        others = () if turn is None else Spectrum.of(turn).others
    largest = max(others, key=abs, default=0.0)
    return complex(largest) if abs(largest) >= 1 - _SMALLEST_GAP else None


def said_apart(mixing_matrix: Tensor) -> str | None:
    """Say into which parts a graph falls; None where it is one.

    Args:
        mixing_matrix: ``[agents, agents]``; of a doubly stochastic one who hears of others is heard of too.

    >>> said_apart(torch.eye(2))
    'falls into 2 parts, so that they cannot agree: agent 0 reaches no other'
    """
    parts = _parts(mixing_matrix != 0)
    if len(parts) == 1:
        return None
    who = _named(min(parts, key=len), "reaches", "reach")
    return f"falls into {len(parts)} parts, so that they cannot agree: {who} no other"


def is_judged_by_its_turns(graphs: GraphSequence) -> bool:
    """Whether graphs take turns, so that it is their product that has to bring agents together.

    >>> from graftwork_decentral.topology import full
    >>> swap = Topology("swap", torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    >>> is_judged_by_its_turns(TopologySequence("swap and mean", [swap, full(2)]))
    True
    """
    return graphs.varies and isinstance(_whole(graphs), TopologySequence)


def _named(agents: list[int], one: str, several: str) -> str:
    names = ", ".join(map(str, agents[:10])) + (", ..." if len(agents) > 10 else "")
    return f"agent {names} {one}" if len(agents) == 1 else f"agents {names} {several}"


def _parts(linked: Tensor) -> list[list[int]]:
    linked = linked | linked.T
    left = torch.ones(len(linked), dtype=torch.bool)
    parts = []
    while left.any():
        part, newest = torch.zeros_like(left), torch.zeros_like(left)
        newest[left.nonzero()[0]] = True
        while newest.any():
            part |= newest
            newest = linked[newest].any(0) & ~part
        parts.append(part.nonzero().flatten().tolist())
        left &= ~part
    return parts


def _turn(graphs: GraphSequence) -> Tensor | None:
    """The product of all graphs of one turn, ``[agents, agents]``; None where nobody knows when it ends."""
    whole = _whole(graphs)
    if isinstance(whole, Topology):
        return whole.mixing_matrix
    if not isinstance(whole, TopologySequence):
        return None if whole.varies else whole.at(0).mixing_matrix
    product = torch.eye(whole.agents, dtype=torch.float64)
    for topology in whole.topologies:
        product = topology.mixing_matrix @ product
    return product


def _links(graphs: GraphSequence) -> Tensor:
    """Who is joined with whom in any turn; not zero where they are, ``[agents, agents]``."""
    whole = _whole(graphs)
    turns = whole.topologies if isinstance(whole, TopologySequence) else (whole.at(0),)
    return torch.stack([topology.mixing_matrix for topology in turns]).sum(0)


def _whole(graphs: GraphSequence) -> GraphSequence:
    while isinstance(graphs, ThinnedGraphs):
        graphs = graphs.graphs
    return graphs


def _over(graphs: GraphSequence) -> str:
    whole = _whole(graphs)
    turns = len(whole.topologies) if isinstance(whole, TopologySequence) else 1
    return f" with its {turns} turns" if turns > 1 else ""
