"""Links that fail: exact strategies stay exact in their one-mix forms, and one that is not does not.

Reached from here: ``draws.py``, ``topology/thinned.py``.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from graftwork import GraftworkError
from graftwork_decentral import strategies
from graftwork_decentral.communication import StackedCommunicator
from graftwork_decentral.faults import Isolation, LinkLoss
from graftwork_decentral.strategies import Strategy
from graftwork_decentral.topology import full, one_peer_exponential, ring, static_exponential, torus

LAZY_RING = ring(10, lazy=True)
STEPS = {"exact_diffusion": 600, "extra": 600, "gt_atc": 2200, "gt_semi_atc": 2200, "gt_non_atc": 2200}
EXACT = tuple(STEPS)


def made(name: str) -> Strategy:
    return getattr(strategies, name)()  # type: ignore[no-any-return]


def test_every_step_stays_symmetric_and_doubly_stochastic() -> None:
    graphs = LinkLoss(torus(12), 0.4, seed=5)
    whole = torus(12)
    for step in range(50):
        left = graphs.at(step)
        assert left.symmetric
        assert left.dyadic
        assert left.lambda_min >= whole.lambda_min - 1e-12
        assert set(map(tuple, left.mixing_matrix.nonzero().tolist())) <= (
            set(map(tuple, whole.mixing_matrix.nonzero().tolist())) | {(i, i) for i in range(12)}
        )


def test_the_share_of_lost_links_is_the_probability() -> None:
    graphs = LinkLoss(full(16), 0.3)
    lost = sum(16 * 15 - graphs.at(step).edges for step in range(100)) / (100 * 16 * 15)
    assert lost == pytest.approx(0.3, abs=0.01)


def test_draws_depend_on_seed_step_and_edge_alone() -> None:
    one, other = LinkLoss(LAZY_RING, 0.3, seed=1), LinkLoss(LAZY_RING, 0.3, seed=1)
    later = [other.at(step).digest for step in reversed(range(30))]
    assert [one.at(step).digest for step in range(30)] == later[::-1]
    assert LinkLoss(LAZY_RING, 0.3, seed=2).at(3) != one.at(3)
    assert one.digest == other.digest != LinkLoss(LAZY_RING, 0.3, seed=2).digest
    # An edge that both graphs have fails in both.
    bigger = LinkLoss(full(10), 0.3, seed=1).at(7).neighbours
    for agent, kept in enumerate(one.at(7).neighbours):
        for other_end in LAZY_RING.neighbours[agent]:
            assert (other_end in kept) == (other_end in bigger[agent])


@pytest.mark.parametrize("name", EXACT)
def test_thirty_percent_link_loss(problem: Any, name: str) -> None:
    assert problem.error(made(name), LinkLoss(LAZY_RING, 0.3), STEPS[name]) <= 1e-15


@pytest.mark.parametrize("name", ["exact_diffusion", "extra"])
def test_sixty_percent_link_loss(problem: Any, name: str) -> None:
    assert problem.error(made(name), LinkLoss(LAZY_RING, 0.6), 900) <= 1e-15


def test_tracking_with_sixty_percent_link_loss_is_slower_and_not_biased(problem: Any) -> None:
    early, late = (
        problem.error(made("gt_semi_atc"), LinkLoss(LAZY_RING, 0.6), steps) for steps in (800, 1600)
    )
    assert late < early / 300


@pytest.mark.parametrize("name", ["exact_diffusion", "gt_atc", "gt_semi_atc"])
def test_as_triples_they_settle_at_a_biased_point(problem: Any, name: str) -> None:
    triple = dataclasses.replace(made(name), form=None)
    early, late = (problem.error(triple, LinkLoss(LAZY_RING, 0.3), steps) for steps in (400, 800))
    assert late > 1e-3
    assert late > early / 100


def test_a_directed_graph_is_refused() -> None:
    with pytest.raises(GraftworkError, match=r"needs a symmetric topology.*choose an undirected one"):
        LinkLoss(static_exponential(8), 0.1)


@pytest.mark.parametrize("probability", [-0.1, 1, 1.5, float("nan")])
def test_probabilities_outside_their_range_are_refused(probability: float) -> None:
    with pytest.raises(ValueError, match=r"at least 0 and below 1, where no link is left, got"):
        LinkLoss(LAZY_RING, probability)


def test_nothing_lost_is_the_graph_itself() -> None:
    assert not LinkLoss(LAZY_RING, 0.0).varies
    assert LinkLoss(LAZY_RING, 0.0).at(4) is LAZY_RING
    assert LinkLoss(LAZY_RING, 1 - 1e-12).at(4).edges == 0


@pytest.mark.parametrize("name", EXACT)
def test_agents_that_are_cut_off_for_a_while_do_no_lasting_harm(problem: Any, name: str) -> None:
    graphs = Isolation(LAZY_RING, [3, 4], first_step=5, last_step=150)
    assert problem.error(made(name), graphs, 150) > 1e-3
    assert problem.error(made(name), graphs, 150 + STEPS[name]) <= 1e-15


@pytest.mark.parametrize("graphs", [one_peer_exponential(8), static_exponential(8), ring(8)], ids=str)
def test_isolation_keeps_every_graph_doubly_stochastic(graphs: Any) -> None:
    alone = Isolation(graphs, [2, 5], first_step=0, last_step=9)
    values = torch.randn(8, 3, dtype=torch.float64)
    communicator = StackedCommunicator(alone, path="differences")
    for step in range(6):
        topology = alone.at(step)
        assert topology.neighbours[2] == topology.neighbours[5] == ()
        mixed = communicator.mix(values, step)
        assert torch.equal(mixed[2], values[2])
        assert float((mixed.mean(0) - values.mean(0)).abs().max()) < 1e-15


def test_isolation_of_nobody_or_backwards_is_refused() -> None:
    with pytest.raises(ValueError, match=r"some of 0\.\.9"):
        Isolation(LAZY_RING, [10], first_step=0, last_step=1)
    with pytest.raises(ValueError, match=r"at most last_step, got 5 and 4"):
        Isolation(LAZY_RING, [1], first_step=5, last_step=4)
