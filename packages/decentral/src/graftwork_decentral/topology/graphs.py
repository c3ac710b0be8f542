"""The named topologies. ``networkx`` draws the graphs; weights and their rounding are ours.

Every function takes ``agents`` first and three options last: ``weights`` (:mod:`.weights`), ``lazy`` (use
``(I + W) / 2``) and ``dyadic`` (round the weights so that mixing in float32 does not move the mean).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import networkx as nx
import torch

from graftwork_decentral.draws import checked_seed
from graftwork_decentral.topology import weights as weighting
from graftwork_decentral.topology.agreement import said_apart
from graftwork_decentral.topology.topology import Topology
from graftwork_decentral.topology.weights import Scheme


def ring(
    agents: int,
    *,
    self_weight: float | None = None,
    weights: Scheme = "metropolis",
    lazy: bool = False,
    dyadic: bool = True,
) -> Topology:
    """Each agent exchanges with the one before and the one after.

    Args:
        agents: how many.
        self_weight: what each keeps of its own, between 0 and 1 ("adjusted ring"); the neighbours share the
            rest.
        weights: metropolis or uniform.
        lazy: keep half of one's own value besides.
        dyadic: round weights to multiples of 2^-12.

    Raises:
        ValueError: ``self_weight`` is not between 0 and 1.

    >>> round(ring(8, dyadic=False).gap, 6)
    0.195262
    """
    _at_least_one(agents)
    graph = nx.cycle_graph(agents)
    if self_weight is None or agents == 1:
        return from_networkx(graph, name="ring", weights=weights, lazy=lazy, dyadic=dyadic)
    if not 0 < self_weight < 1:
        raise ValueError(f"self_weight must be between 0 and 1, got {self_weight}")
    links = torch.zeros(agents, agents, dtype=torch.float64)
    for first, second in graph.edges:
        links[first, second] = links[second, first] = 1.0
    links *= (1 - self_weight) / links.sum(1, keepdim=True)
    return finished("ring", weighting.fill_diagonal(links), lazy=lazy, dyadic=dyadic)


def path(agents: int, *, weights: Scheme = "metropolis", lazy: bool = False, dyadic: bool = True) -> Topology:
    """Agents in a line.

    Args:
        agents: how many.
        weights: metropolis or uniform.
        lazy: keep half of one's own value besides.
        dyadic: round weights to multiples of 2^-12.
    """
    _at_least_one(agents)
    return from_networkx(nx.path_graph(agents), name="path", weights=weights, lazy=lazy, dyadic=dyadic)


def star(agents: int, *, weights: Scheme = "metropolis", lazy: bool = False, dyadic: bool = True) -> Topology:
    """Agent 0 in the middle, the others exchange with it alone.

    Args:
        agents: how many.
        weights: metropolis or uniform.
        lazy: keep half of one's own value besides.
        dyadic: round weights to multiples of 2^-12.
    """
    _at_least_one(agents)
    return from_networkx(nx.star_graph(agents - 1), name="star", weights=weights, lazy=lazy, dyadic=dyadic)


def full(agents: int, *, lazy: bool = False, dyadic: bool = False) -> Topology:
    """Everyone with everyone: the mixing matrix is the mean.

    Args:
        agents: how many.
        lazy: keep half of one's own value besides.
        dyadic: round weights to multiples of 2^-12; then mixing is not quite the mean, unless ``agents`` is a
            power of two.

    >>> full(8).gap
    1.0
    """
    _at_least_one(agents)
    mean = torch.full((agents, agents), 1 / agents, dtype=torch.float64)
    return finished("full", mean, lazy=lazy, dyadic=dyadic)


def torus(
    agents: int,
    *,
    rows: int | None = None,
    weights: Scheme = "metropolis",
    lazy: bool = False,
    dyadic: bool = True,
) -> Topology:
    """A grid whose opposite sides are joined.

    Args:
        agents: how many, a product of two numbers of at least 2.
        rows: of the grid; none for the most square one.
        weights: metropolis or uniform.
        lazy: keep half of one's own value besides.
        dyadic: round weights to multiples of 2^-12.

    Raises:
        ValueError: ``agents`` is no such product, or ``rows`` does not divide it.

    >>> round(torus(9, dyadic=False).gap, 6), round(torus(16, dyadic=False).lambda_min, 6)
    (0.6, -0.6)
    """
    _at_least_one(agents)
    if rows is None:
        rows = max((r for r in range(2, agents) if agents % r == 0 and r * r <= agents), default=None)
    if rows is None:
        raise ValueError(f"agents must be a product of two numbers of at least 2, got {agents}")
    if not 2 <= rows <= agents // 2 or agents % rows:
        raise ValueError(f"rows must divide agents = {agents} into at least 2 rows and 2 columns, got {rows}")
    graph = nx.grid_2d_graph(rows, agents // rows, periodic=True)
    return from_networkx(graph, name="torus", weights=weights, lazy=lazy, dyadic=dyadic)


def hypercube(
    agents: int, *, weights: Scheme = "metropolis", lazy: bool = False, dyadic: bool = True
) -> Topology:
    """Agents whose numbers differ in one binary digit exchange.

    Args:
        agents: a power of two.
        weights: metropolis or uniform.
        lazy: keep half of one's own value besides.
        dyadic: round weights to multiples of 2^-12.

    Raises:
        ValueError: ``agents`` is not a power of two.
    """
    digits = _binary_digits(agents)
    edges = [(agent, agent ^ (1 << digit)) for agent in range(agents) for digit in range(digits)]
    return from_edges(agents, edges=edges, name="hypercube", weights=weights, lazy=lazy, dyadic=dyadic)


def erdos_renyi(
    agents: int,
    *,
    probability: float = 0.5,
    seed: int = 0,
    weights: Scheme = "metropolis",
    lazy: bool = False,
    dyadic: bool = True,
) -> Topology:
    """Each pair exchanges with a given probability, drawn once.

    Args:
        agents: how many.
        probability: of an edge.
        seed: of the draw.
        weights: metropolis or uniform.
        lazy: keep half of one's own value besides.
        dyadic: round weights to multiples of 2^-12.

    Raises:
        ValueError: the probability is outside 0..1, the seed below 0, or the drawn graph falls apart.
    """
    _at_least_one(agents)
    if not 0 < probability <= 1:
        raise ValueError(f"probability must be in 0..1 and above 0, got {probability}")
    checked_seed(seed)
    graph = nx.gnp_random_graph(agents, probability, seed=seed)
    return from_networkx(graph, name="erdos-renyi", weights=weights, lazy=lazy, dyadic=dyadic)


def from_edges(
    agents: int,
    *,
    edges: Sequence[tuple[int, int]],
    name: str = "edges",
    weights: Scheme = "metropolis",
    lazy: bool = False,
    dyadic: bool = True,
) -> Topology:
    """A graph of your own, by its edges.

    Args:
        agents: how many.
        edges: pairs of agents, numbered from 0, each once or more; a loop says nothing, as every agent keeps
            a share of its own.
        name: to call it by in a report.
        weights: metropolis or uniform.
        lazy: keep half of one's own value besides.
        dyadic: round weights to multiples of 2^-12.

    Raises:
        ValueError: an edge names an agent that is not there, or some agents cannot reach others.

    >>> from_edges(4, edges=[(0, 1), (1, 2), (2, 3)]) == path(4)
    True
    """
    _at_least_one(agents)
    matrix = weighting.symmetric_weights(agents, edges, weights)
    if (apart := said_apart(matrix)) is not None:
        raise ValueError(
            f"the graph of {agents} agents {apart}; add edges (for a random graph a higher probability or "
            "another seed)"
        )
    return finished(name, matrix, lazy=lazy, dyadic=dyadic)


def from_networkx(
    graph: Any,
    *,
    name: str = "networkx",
    weights: Scheme = "metropolis",
    lazy: bool = False,
    dyadic: bool = True,
) -> Topology:
    """A graph of your own, as a ``networkx.Graph``; its nodes become agents in their order.

    Args:
        graph: undirected, without parallel edges or weights of its own; loops say nothing.
        name: to call it by in a report.
        weights: metropolis or uniform.
        lazy: keep half of one's own value besides.
        dyadic: round weights to multiples of 2^-12.

    Raises:
        ValueError: the graph is none of networkx, is directed, has parallel edges or weights, is empty, or
            falls apart.

    >>> from_networkx(nx.petersen_graph()).agents
    10
    """
    if not isinstance(graph, nx.Graph):
        raise ValueError(f"graph must be a networkx.Graph, got a {type(graph).__name__}")
    if graph.is_directed():
        raise ValueError(
            "graph must be undirected; give Topology(name, mixing_matrix) a doubly stochastic matrix instead"
        )
    if graph.is_multigraph():
        raise ValueError(
            "graph must have no parallel edges, as how much agents count is not said by them; give "
            "networkx.Graph(graph), or Topology(name, mixing_matrix) a doubly stochastic matrix"
        )
    for first, second, weight in graph.edges(data="weight", default=1):
        if weight != 1:
            raise ValueError(
                f"graph must have no weights, as option 'weights' makes them, and edge {first}-{second} has "
                f"{weight}; give networkx.Graph(graph.edges()), which leaves them out, or "
                "Topology(name, mixing_matrix) a doubly stochastic matrix"
            )
    if not graph:
        raise ValueError("graph must have a node at least, an agent each, got an empty one")
    numbers = {node: number for number, node in enumerate(graph.nodes)}
    edges = [(numbers[first], numbers[second]) for first, second in graph.edges]
    return from_edges(len(numbers), edges=edges, name=name, weights=weights, lazy=lazy, dyadic=dyadic)


def finished(name: str, mixing_matrix: torch.Tensor, *, lazy: bool, dyadic: bool) -> Topology:
    """Apply the two options that every topology has.

    Args:
        name: to call it by in a report.
        mixing_matrix: doubly stochastic.
        lazy: keep half of one's own value besides.
        dyadic: round weights to multiples of 2^-12.
    """
    matrix = weighting.lazy(mixing_matrix) if lazy else mixing_matrix
    return Topology(f"lazy {name}" if lazy else name, weighting.dyadic(matrix) if dyadic else matrix)


def _at_least_one(agents: int) -> None:
    if agents < 1:
        raise ValueError(f"agents must be at least 1, got {agents}")


def _binary_digits(agents: int) -> int:
    _at_least_one(agents)
    if agents & (agents - 1):
        raise ValueError(f"agents must be a power of two, got {agents}")
    return agents.bit_length() - 1
