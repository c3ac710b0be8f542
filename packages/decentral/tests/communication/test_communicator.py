"""Rounds in one process: what is mixed, counted and kept, and graphs without some of their agents.

Reached from here: ``communication/traffic.py``, ``topology/thinned.py``.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
import torch

from graftwork import GraftworkError
from graftwork_decentral.communication import (
    Communicator,
    DistributedCommunicator,
    StackedCommunicator,
    Survivors,
)
from graftwork_decentral.communication.layout import agents_of, owners
from graftwork_decentral.communication.planning import planned
from graftwork_decentral.communication.routes import routes_of
from graftwork_decentral.communication.survivors import without_agents
from graftwork_decentral.faults import LinkLoss
from graftwork_decentral.faults.compressed import Compressed
from graftwork_decentral.faults.compressors import EightBit
from graftwork_decentral.faults.delayed import Delayed
from graftwork_decentral.topology import (
    Topology,
    erdos_renyi,
    full,
    one_peer_exponential,
    path,
    ring,
    star,
    static_exponential,
    torus,
)

GRAPHS = [ring(9), torus(12), star(7), static_exponential(10), erdos_renyi(11, seed=2), full(5)]


@pytest.mark.parametrize("graphs", GRAPHS, ids=lambda graphs: graphs.name)
def test_mixing_is_the_matrix_product(graphs: Topology) -> None:
    values = torch.randn(graphs.agents, 6, dtype=torch.float64)
    mixed = StackedCommunicator(graphs, path="differences").mix(values, 0)
    assert float((mixed - graphs.mixing_matrix @ values).abs().max()) < 1e-14


def test_a_round_mixes_several_tensors_of_any_shape_and_kind() -> None:
    communicator = StackedCommunicator(ring(6), path="differences")
    payloads = {"point": torch.randn(6, 4), "tracker": torch.randn(6, 2, 3, dtype=torch.float64)}
    mixed = communicator.exchange(payloads, 0)
    for name, value in payloads.items():
        assert mixed[name].shape == value.shape
        assert mixed[name].dtype == value.dtype
        assert torch.equal(mixed[name], communicator.mix(value.flatten(1), 0).reshape(value.shape))


def test_fused_rounds_are_counted_once() -> None:
    communicator = StackedCommunicator(ring(6))
    communicator.exchange({"point": torch.zeros(6, 4), "tracker": torch.zeros(6, 3)}, 0)
    communicator.mix(torch.zeros(6, 4), 1)
    traffic = asdict(communicator.traffic)
    assert traffic == {"rounds": 2, "messages": 24, "bytes": 12 * 28 + 12 * 16, "wire_bytes": 0}


@pytest.mark.parametrize(
    ("graphs", "messages"),
    [(ring(8), 16), (full(8), 56), (one_peer_exponential(8), 8), (star(8), 14), (static_exponential(8), 24)],
    ids=lambda value: str(value),
)
def test_messages_of_a_round(graphs: Any, messages: int) -> None:
    communicator = StackedCommunicator(graphs)
    communicator.mix(torch.zeros(8, 1), 0)
    assert communicator.traffic.messages == messages


def test_plans_are_made_once_a_graph_and_only_the_newest_are_kept() -> None:
    communicator = StackedCommunicator(one_peer_exponential(8))
    assert communicator.plan(communicator.graphs.at(0)) is communicator.plan(communicator.graphs.at(3))
    failing = StackedCommunicator(LinkLoss(ring(8), 0.5))
    for step in range(200):
        failing.mix(torch.zeros(8, 1), step)
    assert len(failing._plans) <= 64


def test_a_plan_takes_neighbours_by_ascending_agent_wherever_they_lie() -> None:
    plan = planned(ring(6), range(2, 4), torch.tensor([2, 3, 4, 1]))
    assert plan.neighbours.tolist() == [[3, 1], [0, 2]]
    assert torch.equal(
        plan.weights, torch.full((2, 2), float(ring(6).mixing_matrix[0, 1]), dtype=torch.float64)
    )


def test_degrees_that_differ_are_filled_up_with_weights_of_zero() -> None:
    plan = planned(path(3), range(3), torch.arange(3))
    assert plan.neighbours.tolist() == [[1, 0], [0, 2], [1, 2]]
    assert plan.weights[0, 1] == 0
    assert plan.weights[2, 1] == 0


def test_means_and_sums() -> None:
    communicator = StackedCommunicator(ring(4))
    values = torch.arange(8.0).reshape(4, 2)
    assert communicator.mean(values).tolist() == [3.0, 4.0]
    assert communicator.living == (0, 1, 2, 3)
    adopted = communicator.adopted(values, [1])
    assert adopted[1].tolist() == pytest.approx([10 / 3, 13 / 3])
    assert torch.equal(adopted[[0, 2, 3]], values[[0, 2, 3]])


@pytest.mark.parametrize(("processes", "agents"), [(1, 1), (3, 10), (4, 50), (5, 5)])
def test_agents_are_spread_evenly(processes: int, agents: int) -> None:
    rows = [agents_of(process, processes, agents) for process in range(processes)]
    assert [agent for part in rows for agent in part] == list(range(agents))
    assert max(map(len, rows)) - min(map(len, rows)) <= 1
    assert [agent in rows[owner] for agent, owner in enumerate(owners(processes, agents))] == [True] * agents
    with pytest.raises(ValueError, match="at least the number of processes"):
        agents_of(0, agents + 1, agents)


@pytest.mark.parametrize("graphs", GRAPHS, ids=lambda graphs: graphs.name)
def test_what_one_process_sends_the_other_receives(graphs: Topology) -> None:
    owner = owners(3, graphs.agents)
    routes = [{route.peer: route for route in routes_of(process, owner, graphs)} for process in range(3)]
    for process, own in enumerate(routes):
        for peer, route in own.items():
            assert routes[peer][process].receives == route.sends
            assert all(owner[agent] == process for agent in route.sends)


def test_without_several_processes_distributed_says_what_to_do() -> None:
    with pytest.raises(GraftworkError, match="start them with torchrun"):
        DistributedCommunicator(ring(4))


@pytest.mark.parametrize(
    "graphs", [ring(8), torus(12), static_exponential(9), one_peer_exponential(8)], ids=str
)
@pytest.mark.parametrize("lost", [[3], [1, 2], [0, 4, 5]], ids=str)
def test_without_agents_every_graph_stays_doubly_stochastic(graphs: Any, lost: list[int]) -> None:
    for step in range(4):
        left = without_agents(graphs.at(step), lost)
        matrix = left.mixing_matrix
        assert float((matrix.sum(0) - 1).abs().max()) < 1e-12
        assert float(matrix.min()) >= 0
        assert all(matrix[agent, agent] == 1 for agent in lost)
        assert left.symmetric == graphs.at(step).symmetric


def test_lost_weight_goes_to_the_diagonal_and_no_eigenvalue_falls() -> None:
    whole, left = ring(8), without_agents(ring(8), [3])
    assert float(left.mixing_matrix[2, 2]) == float(whole.mixing_matrix[2, 2] + whole.mixing_matrix[2, 3])
    assert left.dyadic
    assert left.lambda_min >= whole.lambda_min - 1e-12


def test_in_a_directed_graph_who_took_from_the_lost_takes_from_its_sources() -> None:
    """The one-peer graph at distance 1: agent 2 took from 3, which took from 4."""
    left = without_agents(one_peer_exponential(8).at(0), [3])
    assert left.neighbours[2] == (4,)
    assert float(left.mixing_matrix[2, 4]) == 0.5


def test_survivors_that_cannot_reach_each_other_are_refused() -> None:
    with pytest.raises(GraftworkError, match=r"falls into 6 parts without agent 0.*more edges"):
        Survivors(star(7), [0])
    with pytest.raises(GraftworkError, match="nobody is left"):
        Survivors(ring(3), [0, 1, 2])
    assert Survivors(star(7), [1, 2]).at(0).neighbours[0] == (3, 4, 5, 6)


def test_survivors_of_graphs_that_lose_links() -> None:
    graphs = Survivors(LinkLoss(full(8), 0.5), [2])
    assert graphs.varies
    assert graphs.symmetric
    assert graphs.support.at(0).neighbours[2] == ()
    assert all(graphs.at(step).neighbours[2] == () for step in range(5))
    assert graphs.digest != Survivors(LinkLoss(full(8), 0.5), [3]).digest


def test_an_agent_that_is_not_there_cannot_be_lost() -> None:
    with pytest.raises(ValueError, match=r"agents 0\.\.3, got \[4\]"):
        without_agents(ring(4), [4])


def test_other_graphs_of_the_same_agents_count_together() -> None:
    communicator = StackedCommunicator(ring(6), path="differences")
    other = communicator.on(full(6))
    values = torch.randn(6, 4)
    assert torch.equal(other.mix(values, 0), StackedCommunicator(full(6), path="differences").mix(values, 0))
    communicator.mix(values, 0)
    assert communicator.on(ring(6)) is communicator
    assert (communicator.traffic.rounds, communicator.traffic.messages) == (2, 30 + 12)


@pytest.mark.parametrize(
    "communicator",
    [
        StackedCommunicator(LinkLoss(ring(6), 0.2)),
        Compressed(StackedCommunicator(ring(6)), EightBit()),
        Delayed(StackedCommunicator(ring(6, lazy=True)), max_delay=1),
    ],
    ids=["lost-links", "compressed", "delayed"],
)
def test_faults_are_of_one_graph(communicator: Communicator) -> None:
    with pytest.raises(GraftworkError, match=r"on 'full' .* \[faults\] are of one graph"):
        communicator.on(full(6))
