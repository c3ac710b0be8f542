"""Graphs on which agents never agree are refused, however they were given; those that are whole are not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from graftwork import GraftworkError
from graftwork_decentral import strategies
from graftwork_decentral.bilevel.mdbo import MomentumBilevel
from graftwork_decentral.bilevel.problem import BilevelSettings
from graftwork_decentral.bilevel.quadratic import Quadratic
from graftwork_decentral.communication import StackedCommunicator
from graftwork_decentral.faults import Isolation, LinkLoss
from graftwork_decentral.topology import (
    Topology,
    TopologySequence,
    full,
    one_peer_exponential,
    path,
    ring,
    star,
    static_exponential,
)
from graftwork_decentral.topology.agreement import (
    lasting_disagreement,
    validate_agreement,
    validate_connected,
)
from graftwork_decentral.trainers.network import Network


def fixed(*rows: list[float]) -> Topology:
    return Topology("mine", torch.tensor(rows, dtype=torch.float64))


def blocks(*sizes: int) -> Topology:
    return Topology(
        "mine", torch.block_diag(*(torch.full((n, n), 1 / n, dtype=torch.float64) for n in sizes))
    )


def turned(agents: int, by: int = 1) -> Topology:
    """Each takes all from one other, which is a permutation."""
    return Topology("mine", torch.eye(agents, dtype=torch.float64).roll(by, dims=1))


SWAP = turned(2)
APART: dict[str, tuple[Any, str]] = {
    "nobody exchanges": (Topology("mine", torch.eye(3)), "falls into 3 parts.*agent 0 reaches no other"),
    "one is left out": (blocks(3, 1), "falls into 2 parts.*agent 3 reaches no other"),
    "two halves": (blocks(2, 2), "falls into 2 parts.*agents 0, 1 reach no other"),
    "two directed rings": (Topology("mine", turned(6, 2).mixing_matrix), "parts.*agents 0, 2, 4 reach"),
    "turns that do not join": (
        TopologySequence("mine", [blocks(2, 2), Topology("i", torch.eye(4))]),
        "2 turns",
    ),
    "turns that undo each other": (
        TopologySequence("mine", [SWAP, SWAP]),
        "with its 2 turns undoes its own exchanges.*agent 0 holds nothing of any other.*lazy weights",
    ),
    "one turn": (TopologySequence("mine", [blocks(2, 2)]), "of 4 agents falls into 2 parts"),
}
PERIODIC: dict[str, tuple[Any, str]] = {
    "two swap": (SWAP, "has the eigenvalue -1,"),
    "a directed ring of 3": (turned(3), "has an eigenvalue of modulus 1,"),
    "a bipartite ring": (ring(4, self_weight=1e-13, dyadic=False), "has the eigenvalue -1,"),
    "an odd number of swaps": (
        TopologySequence("mine", [SWAP] * 3),
        "with its 3 turns has the eigenvalue -1,",
    ),
    "a swap alone": (TopologySequence("mine", [SWAP]), "its mixing matrix has the eigenvalue -1,"),
    "links that weigh next to nothing": (ring(3, self_weight=1 - 1e-11), "has the eigenvalue 1,"),
}
WHOLE = {
    "ring": ring(8),
    "alone": full(1),
    "weak links": ring(3, self_weight=1 - 1e-6),
    "long path": path(60),
    "star": star(9),
    "directed": static_exponential(6),
    "turns": one_peer_exponential(6),
    "halves in turn": TopologySequence(
        "mine",
        [fixed([0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]), fixed([1, 0, 0], [0, 0.5, 0.5], [0, 0.5, 0.5])],
    ),
    "a swap and the mean": TopologySequence("mine", [SWAP, full(2)]),
    "two swaps that join all": TopologySequence("mine", [turned(5), full(5), turned(5, 2)]),
    "lost links": LinkLoss(ring(6), 0.9),
    "cut off": Isolation(ring(6), [1], first_step=0, last_step=3),
}


@pytest.mark.parametrize("name", APART | PERIODIC)
def test_a_graph_on_which_agents_never_agree_is_refused(name: str) -> None:
    graphs, says = (APART | PERIODIC)[name]
    with pytest.raises(GraftworkError, match=rf"topology 'mine'.*{says}|topology 'ring'.*{says}"):
        validate_agreement(graphs)
    with pytest.raises(GraftworkError, match=says):
        strategies.diffusion().validate(graphs)
    assert lasting_disagreement(graphs) is not None


@pytest.mark.parametrize("graphs", WHOLE.values(), ids=list(WHOLE))
def test_a_graph_on_which_agents_agree_is_taken(graphs: Any) -> None:
    validate_agreement(graphs)
    assert lasting_disagreement(graphs) is None
    assert strategies.diffusion().suited(graphs) is graphs
    strategies.diffusion().validate(graphs)


@pytest.mark.parametrize("name", APART)
def test_lazy_weights_do_not_join_parts_and_are_not_tried(name: str) -> None:
    graphs, says = APART[name]
    with pytest.raises(GraftworkError, match=says) as refused:
        strategies.gt_semi_atc().suited(graphs)
    if "lazy" not in says:
        assert "lazy" not in str(refused.value)
    with pytest.raises(GraftworkError, match=says):
        validate_connected(graphs)
    with pytest.raises(GraftworkError, match=says):
        Network(agents=graphs.agents, topology=lambda agents: graphs).graphs()  # type: ignore[arg-type]


@pytest.mark.parametrize("topology", [SWAP, turned(3), turned(5)], ids=lambda topology: topology.agents)
def test_swapping_for_ever_is_mended_by_lazy_weights(topology: Topology) -> None:
    suited = strategies.diffusion().suited(topology)
    assert suited.name == "lazy mine"
    values = torch.arange(float(topology.agents)).double()[:, None]
    mixed = torch.linalg.matrix_power(suited.at(0).mixing_matrix, 200) @ values
    torch.testing.assert_close(mixed, values.mean().expand_as(values))


def test_a_bilevel_method_asks_for_it_too() -> None:
    problem, settings = Quadratic(agents=4), BilevelSettings(alpha=0.1, beta=0.1, gamma=0.1)
    with pytest.raises(GraftworkError, match="falls into 2 parts"):
        MomentumBilevel(problem, StackedCommunicator(blocks(2, 2)), settings)
