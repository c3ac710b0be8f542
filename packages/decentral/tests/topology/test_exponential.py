"""Exponential graphs: gaps of the static one, exact averages of the one-peer one."""

from __future__ import annotations

import pytest
import torch

from graftwork_decentral.topology import one_peer_exponential, static_exponential


@pytest.mark.parametrize(("agents", "gap"), [(8, 0.5), (10, 0.4), (16, 0.4)])
def test_static_exponential(agents: int, gap: float) -> None:
    topology = static_exponential(agents, dyadic=False)
    assert topology.gap == pytest.approx(gap, abs=1e-9)
    assert not topology.symmetric


def product_over_a_period(agents: int) -> torch.Tensor:
    graphs = one_peer_exponential(agents)
    product = torch.eye(agents, dtype=torch.float64)
    for step in range(len(graphs.topologies)):
        product = graphs.at(step).mixing_matrix @ product
    return product


@pytest.mark.parametrize("agents", [2, 4, 8, 16, 32])
def test_one_peer_averages_exactly_for_powers_of_two(agents: int) -> None:
    assert torch.equal(
        product_over_a_period(agents), torch.full((agents, agents), 1 / agents, dtype=torch.float64)
    )


@pytest.mark.parametrize("agents", [3, 6, 10, 12])
def test_one_peer_does_not_average_for_other_numbers(agents: int) -> None:
    assert float((product_over_a_period(agents) - 1 / agents).abs().max()) > 0.01


def test_one_peer_takes_turns_and_sends_one_message_an_agent() -> None:
    graphs = one_peer_exponential(8)
    assert graphs.varies
    assert not graphs.symmetric
    assert graphs.at(3) == graphs.at(0) != graphs.at(1)
    assert all(graphs.at(step).edges == 8 for step in range(3))
    assert one_peer_exponential(1).agents == 1


def test_no_agents_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        one_peer_exponential(0)
