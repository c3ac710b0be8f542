"""The named graphs: reference gaps and eigenvalues, connectedness, rounding of weights.

Reached from here: ``topology/weights.py``.
"""

from __future__ import annotations

import networkx as nx
import pytest
import torch

from graftwork_decentral.topology import (
    Topology,
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


@pytest.mark.parametrize(
    ("topology", "gap"),
    [
        (ring(8, dyadic=False), 0.195262),
        (ring(10, dyadic=False), 0.127322),
        (ring(16, dyadic=False), 0.050747),
        (ring(32, dyadic=False), 0.012810),
        (torus(9, dyadic=False), 0.6),
        (torus(16, dyadic=False), 0.4),
        (torus(32, dyadic=False), 0.117157),
        (torus(32, rows=4, dyadic=False), 0.117157),
        (star(7, dyadic=False), 1 / 7),
        (star(20, dyadic=False), 1 / 20),
        (hypercube(16, dyadic=False), 0.4),
        (full(9), 1.0),
    ],
)
def test_gaps(topology: Topology, gap: float) -> None:
    assert topology.gap == pytest.approx(gap, abs=6e-7)


@pytest.mark.parametrize("agents", [4, 6, 10, 16])
def test_an_even_metropolis_ring_has_the_eigenvalue_minus_a_third(agents: int) -> None:
    assert ring(agents, dyadic=False).lambda_min == pytest.approx(-1 / 3, abs=1e-12)


@pytest.mark.parametrize("topology", [torus(16, dyadic=False), hypercube(16, dyadic=False)])
def test_a_four_by_four_torus_and_a_hypercube_have_minus_three_fifths(topology: Topology) -> None:
    assert topology.lambda_min == pytest.approx(-3 / 5, abs=1e-12)


@pytest.mark.parametrize("topology", [ring(10, lazy=True), torus(16, lazy=True), star(10, lazy=True)])
def test_lazy_weights_leave_no_negative_eigenvalue(topology: Topology) -> None:
    assert topology.lambda_min >= -1e-12
    assert topology.name.startswith("lazy ")


@pytest.mark.parametrize("make", [ring, path, star, torus])
@pytest.mark.parametrize("lazy", [False, True])
def test_dyadic_weights_sum_exactly_in_float32(make: object, lazy: bool) -> None:
    topology = make(12, lazy=lazy)  # type: ignore[operator]
    assert topology.dyadic
    single = topology.mixing_matrix.float()
    assert torch.equal(single.double(), topology.mixing_matrix)
    assert torch.equal(single.sum(0), torch.ones(12))
    assert torch.equal(single.sum(1), torch.ones(12))


def test_rounding_changes_the_gap_of_the_lazy_ring_by_less_than_4e_5() -> None:
    assert ring(10, lazy=True).gap == pytest.approx(ring(10, lazy=True, dyadic=False).gap, abs=4e-5)


def test_an_adjusted_ring_keeps_the_weight_it_is_told() -> None:
    topology = ring(6, self_weight=0.75)
    assert torch.equal(topology.mixing_matrix.diagonal(), torch.full((6,), 0.75, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"between 0 and 1, got 1.5"):
        ring(6, self_weight=1.5)


def test_uniform_weights_are_one_over_one_more_than_the_largest_degree() -> None:
    topology = star(5, weights="uniform", dyadic=False)
    assert float(topology.mixing_matrix[1, 0]) == pytest.approx(1 / 5)
    assert float(topology.mixing_matrix[1, 1]) == pytest.approx(4 / 5)
    with pytest.raises(ValueError, match=r"'metropolis' or 'uniform'"):
        star(5, weights="equal")  # type: ignore[arg-type]


def test_metropolis_weights() -> None:
    topology = from_edges(4, edges=[(0, 1), (1, 2), (1, 3)], dyadic=False)
    assert float(topology.mixing_matrix[0, 1]) == pytest.approx(1 / 4)
    assert topology == star_around(1)


def star_around(middle: int) -> Topology:
    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from(range(4))
    graph.add_edges_from((other, middle) for other in range(4) if other != middle)
    return from_networkx(graph, dyadic=False)


def test_a_graph_that_falls_apart_is_refused_and_named() -> None:
    with pytest.raises(ValueError, match=r"falls into 2 parts.*agent 3 reaches no other"):
        from_edges(4, edges=[(0, 1), (1, 2)])
    with pytest.raises(ValueError, match=r"falls into"):
        erdos_renyi(20, probability=0.01)
    with pytest.raises(ValueError, match=r"must join agents 0..2"):
        from_edges(3, edges=[(0, 1), (1, 2), (2, 3)])


def weighted() -> nx.Graph[int]:
    graph = nx.path_graph(3)
    graph.edges[0, 1]["weight"] = 3.0
    return graph


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (nx.DiGraph([(0, 1), (1, 0)]), "graph must be undirected"),
        (nx.MultiDiGraph([(0, 1), (1, 0)]), "graph must be undirected"),
        (nx.MultiGraph([(0, 1), (0, 1)]), "graph must have no parallel edges"),
        (weighted(), r"edge 0-1 has 3\.0; give networkx\.Graph\(graph\.edges\(\)\)"),
        (nx.Graph(), "graph must have a node at least"),
        (nx.Graph([(0, 0), (1, 1)]), "falls into 2 parts"),
        ([(0, 1)], "graph must be a networkx.Graph, got a list"),
    ],
)
def test_what_is_no_simple_undirected_graph_is_refused(graph: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        from_networkx(graph)


def test_a_graph_with_weights_is_taken_once_they_are_left_out_as_is_said() -> None:
    club = nx.karate_club_graph()
    with pytest.raises(ValueError, match=r"edge 0-1 has 4; give networkx\.Graph\(graph\.edges\(\)\)"):
        from_networkx(club)
    assert from_networkx(nx.Graph(club.edges())).edges == 2 * club.number_of_edges()


def test_loops_and_edges_named_twice_say_nothing() -> None:
    assert from_networkx(nx.Graph([(0, 0), (0, 1), (1, 2)])) == path(3)
    assert from_edges(3, edges=[(0, 1), (1, 0), (1, 2), (2, 2)]) == path(3)


def test_rounding_loses_no_link() -> None:
    weak = ring(6, self_weight=1 - 1e-8)
    assert weak.edges == 12
    assert weak.neighbours == ring(6).neighbours


@pytest.mark.parametrize("make", [ring, path, star, full, erdos_renyi])
def test_no_agents_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match=r"agents must be at least 1, got 0"):
        make(0)  # type: ignore[operator]


def test_sizes_that_a_graph_cannot_have_are_refused() -> None:
    with pytest.raises(ValueError, match=r"power of two, got 12"):
        hypercube(12)
    with pytest.raises(ValueError, match=r"agents must be a product of two numbers of at least 2, got 7"):
        torus(7)
    with pytest.raises(ValueError, match=r"rows must divide agents = 12"):
        torus(12, rows=5)
    with pytest.raises(ValueError, match=r"probability"):
        erdos_renyi(5, probability=0.0)


def test_one_draw_of_a_random_graph_is_the_same_everywhere() -> None:
    assert erdos_renyi(12, seed=3).digest == erdos_renyi(12, seed=3).digest
    assert erdos_renyi(12, seed=3) != erdos_renyi(12, seed=4)


@pytest.mark.parametrize("agents", [1, 2, 3])
def test_the_smallest_graphs(agents: int) -> None:
    for make in (ring, path, star, full):
        assert make(agents).agents == agents
