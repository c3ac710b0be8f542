"""The small-step form: exact in its limit, far off where it does not hold."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from graftwork_decentral.flatness.methods import Method
from graftwork_decentral.flatness.theory import excess_risk, small_step

THIRD = 1 / 3
RING = [
    [2 * THIRD, THIRD / 2, 0, THIRD / 2],
    [THIRD / 2, 2 * THIRD, THIRD / 2, 0],
    [0, THIRD / 2, 2 * THIRD, THIRD / 2],
    [THIRD / 2, 0, THIRD / 2, 2 * THIRD],
]
CASE: dict[str, Any] = {
    "mixing_matrix": RING,
    "hessian": [[1.0, 0.2], [0.2, 0.5]],
    "noise_covariance": [[1.0, 0.0], [0.0, 2.0]],
    "heterogeneity": [[1.0, 0.5], [0.0, -1.0], [-1.0, 0.0], [0.0, 0.5]],
    "batch_size": 1,
}


@pytest.mark.parametrize("method", ["centralized", "diffusion", "consensus", "cta-diffusion"])
def test_the_error_is_of_third_order_in_the_step(method: Method) -> None:
    """The part beyond the centralized is of second order, and what the form leaves out of third."""
    misses = []
    for step in (1e-3, 1e-4):
        exact = excess_risk(**CASE, step_size=step, method=method)
        centralized = excess_risk(**CASE, step_size=step, method="centralized")
        misses.append(abs(small_step(**CASE, step_size=step, method=method) - exact))
        if method != "centralized":
            assert misses[-1] < 0.02 * (exact - centralized)
    if method == "centralized":
        assert misses == [0.0, 0.0]
    else:
        assert 900 < misses[0] / misses[1] < 1100


def test_by_hand_on_two_agents() -> None:
    """lam_2 = 1/2, bhat = sqrt(2) (1): bias 2 / .25, noise 3 / (4 x .75)."""
    pair = [[0.75, 0.25], [0.25, 0.75]]
    case: tuple[Any, ...] = (pair, [[1.0]], [[3.0]], [[1.0], [-1.0]], 0.01, 4)
    centralized = excess_risk(*case, method="centralized")
    assert small_step(*case, method="consensus") - centralized == pytest.approx(1e-4 / 4 * 9, rel=1e-10)
    assert small_step(*case, method="diffusion") - centralized == pytest.approx(1e-4 / 16 * 9, rel=1e-10)


def test_on_a_sparse_graph_it_overstates() -> None:
    """A lazy ring of 16: at mu h = .1 the form is far above the exact value, at 2e-4 close."""
    agents = 16
    eye = torch.eye(agents, dtype=torch.float64)
    weights = eye * 2 / 3 + eye.roll(1, 1) / 6 + eye.roll(-1, 1) / 6
    angles = torch.arange(agents, dtype=torch.float64) * 2 * torch.pi / agents
    case: dict[str, Any] = {
        "mixing_matrix": weights,
        "hessian": [[1.0]],
        "noise_covariance": [[1.0]],
        "heterogeneity": torch.cos(angles)[:, None],
        "batch_size": 1,
        "method": "consensus",
    }
    ratios = [
        small_step(**case, step_size=step) / excess_risk(**case, step_size=step) for step in (0.1, 2e-4)
    ]
    assert ratios[0] > 1.5
    assert 1 <= ratios[1] < 1.1


def test_it_refuses_a_graph_in_two_parts_and_a_periodic_one() -> None:
    for weights in ([[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]):
        with pytest.raises(ValueError, match="mixing_matrix must have a single eigenvalue of size 1"):
            small_step(weights, [[1.0]], [[1.0]], None, 0.01, 1)
    with pytest.raises(ValueError, match="method must be one of"):
        small_step(RING, [[1.0]], [[1.0]], None, 0.01, 1, method="gossip")  # type: ignore[arg-type]
