"""The modal closed form: tables that can be checked by hand, the order of methods, batches and graphs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from graftwork_decentral.flatness.methods import Method
from graftwork_decentral.flatness.theory import consensus_covariance, excess_risk

COMPARED: tuple[Method, ...] = ("centralized", "diffusion", "consensus")
ALTERNATING = [[1.0], [-1.0], [1.0], [-1.0]]
WAVE = [[1.0], [0.0], [-1.0], [0.0]]


def ring(agents: int, *, lazy: bool) -> Tensor:
    weights = torch.eye(agents, dtype=torch.float64) / 3
    for step in (1, -1):
        weights += torch.eye(agents, dtype=torch.float64).roll(step, 1) / 3
    return (weights + torch.eye(agents, dtype=torch.float64)) / 2 if lazy else weights


def star(agents: int) -> Tensor:
    weights = torch.eye(agents, dtype=torch.float64) * (1 - 1 / agents)
    weights[0, :] = weights[:, 0] = 1 / agents
    return weights


def full(agents: int) -> Tensor:
    return torch.full((agents, agents), 1 / agents, dtype=torch.float64)


def random_case(seed: int, *, lazy: bool = False) -> dict[str, Any]:
    """A connected graph with Metropolis weights, and whatever H, R, b, a step that all methods survive."""
    random = np.random.default_rng(seed)
    agents, dimension = int(random.integers(3, 9)), int(random.integers(1, 6))
    linked = np.triu(random.random((agents, agents)) < random.uniform(0, 0.7), 1)
    linked[np.arange(agents - 1), np.arange(1, agents)] = True
    linked |= linked.T
    degrees = linked.sum(1)
    weights = linked / (1 + np.maximum(degrees[:, None], degrees[None, :]))
    weights += np.diag(1 - weights.sum(1))
    if lazy:
        weights = (weights + np.eye(agents)) / 2
    root = random.normal(size=(dimension, dimension))
    noise_root = random.normal(size=(dimension, dimension))
    local = random.normal(size=(agents, dimension)) * random.choice([0, 1, 3])
    hessian = root @ root.T / dimension + 0.05 * np.eye(dimension)
    bound = min(1 + np.linalg.eigvalsh(weights)[0], 1.0 if lazy else 2.0) / np.linalg.eigvalsh(hessian)[-1]
    return {
        "mixing_matrix": weights,
        "hessian": hessian,
        "noise_covariance": noise_root @ noise_root.T,
        "heterogeneity": local - local.mean(0),
        "step_size": float(random.uniform(0.02, 0.98) * bound),
        "batch_size": float(random.choice([1, 8, math.inf])),
    }


@pytest.mark.parametrize(
    ("heterogeneity", "step_size", "steady", "first"),
    [
        (ALTERNATING, 0.1, (0.00657895, 0.00960147, 0.02009003), (0.00125, 0.00305556, 0.01)),
        (ALTERNATING, 0.01, (6.28141e-4, 6.61762e-4, 7.95253e-4), (1.25e-5, 3.05556e-5, 1e-4)),
        (WAVE, 0.1, (0.00657895, 0.01541213, 0.02489702), (0.00125, 0.00361111, 0.0075)),
        (WAVE, 0.01, (6.28141e-4, 7.45503e-4, 8.98137e-4), (1.25e-5, 3.61111e-5, 7.5e-5)),
    ],
)
def test_four_agents_on_a_lazy_ring(
    heterogeneity: Any, step_size: float, steady: tuple[float, ...], first: tuple[float, ...]
) -> None:
    case = (ring(4, lazy=True), [[1.0]], [[1.0]], heterogeneity, step_size, 1)
    for method, risk, after_one in zip(COMPARED, steady, first, strict=True):
        assert excess_risk(*case, method=method) == pytest.approx(risk, rel=1e-6)
        # Printed with six digits, of which the last is rounded.
        assert excess_risk(*case, 1, method=method) == pytest.approx(after_one, rel=2e-6)


def test_the_table_by_hand_to_all_digits() -> None:
    """Eigenvalues 1, 2/3, 2/3, 1/3; b = (1, -1, 1, -1) lies in the last mode with size 2."""
    step = 0.1
    modes = [(1.0, 0.0), (2 / 3, 0.0), (2 / 3, 0.0), (1 / 3, 2.0)]
    by_method: dict[Method, list[tuple[float, float, float]]] = {
        "diffusion": [(lam * (1 - step), lam, size) for lam, size in modes],
        "consensus": [(lam - step, 1.0, size) for lam, size in modes],
    }
    for method, rows in by_method.items():
        total = sum((step * c * b / (1 - a)) ** 2 + (step * c) ** 2 / (1 - a**2) for a, c, b in rows)
        found = excess_risk(ring(4, lazy=True), [[1.0]], [[1.0]], ALTERNATING, step, 1, method=method)
        assert found == pytest.approx(total / 8, rel=1e-13)


def five_dimensional(seed: int = 7) -> dict[str, Any]:
    """Eight agents, curvatures .22 to 1.82 and a noise of trace 4.78; the rest is drawn here."""
    random = torch.Generator().manual_seed(seed)
    directions, _ = torch.linalg.qr(torch.randn(5, 5, generator=random, dtype=torch.float64))
    hessian = directions * torch.linspace(0.22, 1.82, 5, dtype=torch.float64) @ directions.mT
    root = torch.randn(5, 5, generator=random, dtype=torch.float64)
    noise = root @ root.mT
    local = torch.randn(8, 5, generator=random, dtype=torch.float64)
    return {
        "hessian": hessian,
        "noise_covariance": noise * 4.78 / torch.trace(noise),
        "heterogeneity": local - local.mean(0),
        "step_size": 0.1,
    }


def test_batch_scan_centralized_dies_out_and_decentralized_does_not() -> None:
    case = {**five_dimensional(), "mixing_matrix": ring(8, lazy=False)}
    risks = {
        batch: [excess_risk(**case, batch_size=batch, method=method) for method in COMPARED]
        for batch in (1, 16, 256, math.inf)
    }
    for batch in (16, 256):
        assert risks[batch][0] == pytest.approx(risks[1][0] / batch, rel=1e-12)
    assert risks[math.inf][0] == 0.0
    ratios = [risks[batch][1] / risks[batch][0] for batch in (1, 16, 256)]
    assert ratios[0] > 2
    assert ratios[1] > 5 * ratios[0]
    assert ratios[2] > 10 * ratios[1]
    for index in (1, 2):
        last = risks[math.inf][index]
        assert last > 0
        assert risks[256][index] == pytest.approx(last, rel=0.01)
        # The noise's part falls as 1 / B, so that all four lie on one line.
        assert risks[16][index] - last == pytest.approx((risks[1][index] - last) / 16, rel=1e-9)
    # Of the order of mu Tr(R) / (4 K B) = .01494, and above it.
    assert 0.01494 < risks[1][0] < 0.0175


def test_graph_scan_sparser_graphs_disagree_more() -> None:
    case = {**five_dimensional(), "batch_size": 1}
    graphs = (full(8), ring(8, lazy=False), ring(8, lazy=True), star(8))
    centralized = excess_risk(full(8), **case, method="centralized")
    for method in ("diffusion", "consensus"):
        risks = [excess_risk(graph, **case, method=method) for graph in graphs]
        assert risks == sorted(risks)
    assert excess_risk(full(8), **case) == pytest.approx(centralized, rel=1e-12)
    assert excess_risk(full(8), **case, method="consensus") > 1.5 * centralized


def test_order_of_the_methods_in_the_steady_state_on_300_random_cases() -> None:
    for seed in range(300):
        case = random_case(seed)
        risks = [excess_risk(**case, method=method) for method in COMPARED]
        slack = 1e-12 * risks[2]
        assert risks[0] <= risks[1] + slack, seed
        assert risks[1] <= risks[2] + slack, seed


def test_order_of_the_methods_at_every_horizon_with_lazy_weights() -> None:
    for seed in range(300):
        case = random_case(seed, lazy=True)
        for steps in (1, 2, 7, 40):
            risks = [excess_risk(**case, steps=steps, method=method) for method in COMPARED]
            slack = 1e-12 * risks[2]
            assert risks[0] <= risks[1] + slack <= risks[2] + 2 * slack, (seed, steps)


def test_finite_horizon_starts_at_nothing_and_ends_in_the_steady_state() -> None:
    case = random_case(3)
    for method in (*COMPARED, "cta-diffusion"):
        assert excess_risk(**case, steps=0, method=method) == 0.0
        late = excess_risk(**case, steps=20_000, method=method)
        assert late == pytest.approx(excess_risk(**case, method=method), rel=1e-9)


def test_a_maximum_has_a_finite_horizon() -> None:
    """Where the curvature is zero or negative, errors grow without end but n steps are still exact."""
    pair = [[0.75, 0.25], [0.25, 0.75]]
    flat = excess_risk(pair, [[0.0]], [[1.0]], None, 0.1, 1, 10)
    assert flat == 0.0
    case = (pair, [[-1.0]], [[1.0]], None, 0.1, 1)
    grown = sum(1.1 ** (2 * power) for power in range(10)) * 0.01
    assert excess_risk(*case, 10, method="centralized") == pytest.approx(-grown / 4, rel=1e-12)
    with pytest.raises(ValueError, match=r"hessian must be positive definite .* smallest eigenvalue is -1"):
        excess_risk(*case)


@pytest.mark.parametrize("method", ["centralized", "diffusion", "consensus", "cta-diffusion"])
def test_consensus_covariance_is_all_that_the_centroid_lacks(method: Method) -> None:
    case = random_case(11)
    spread = consensus_covariance(**case, method=method)
    weighted = float(torch.trace(torch.as_tensor(case["hessian"]) @ spread))
    centralized = excess_risk(**case, method="centralized")
    assert excess_risk(**case, method=method) == pytest.approx(centralized + weighted / 2, rel=1e-12)
    assert torch.linalg.eigvalsh(spread).min() > -1e-12
    if method == "centralized":
        assert float(spread.abs().max()) == 0.0


def test_consensus_covariance_by_hand_in_two_dimensions() -> None:
    """Two agents, lam_2 = 1/2, off-diagonal noise: the cross moment needs a_i a_j."""
    step, (first, second) = 0.2, (0.5, 2.0)
    spread = consensus_covariance(
        [[0.75, 0.25], [0.25, 0.75]], [[first, 0], [0, second]], [[1.0, 0.6], [0.6, 1.0]], None, step, 2
    )
    a, b = 0.5 * (1 - step * first), 0.5 * (1 - step * second)
    assert float(spread[0, 1]) == pytest.approx((step * 0.5) ** 2 * 0.3 / (1 - a * b) / 2, rel=1e-13)
    assert float(spread[1, 1]) == pytest.approx((step * 0.5) ** 2 * 0.5 / (1 - b * b) / 2, rel=1e-13)


def test_the_basis_does_not_matter() -> None:
    case = random_case(5)
    dimension = len(case["hessian"])
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(dimension, dimension)))
    turned = {
        **case,
        "hessian": rotation @ case["hessian"] @ rotation.T,
        "noise_covariance": rotation @ case["noise_covariance"] @ rotation.T,
        "heterogeneity": case["heterogeneity"] @ rotation.T,
    }
    assert excess_risk(**turned) == pytest.approx(excess_risk(**case), rel=1e-11)
    torch.testing.assert_close(
        consensus_covariance(**turned),
        torch.as_tensor(rotation @ consensus_covariance(**case).numpy() @ rotation.T),
        rtol=1e-9,
        atol=1e-12,
    )


GOOD: dict[str, Any] = {
    "mixing_matrix": [[0.75, 0.25], [0.25, 0.75]],
    "hessian": [[2.0]],
    "noise_covariance": [[1.0]],
    "heterogeneity": [[1.0], [-1.0]],
    "step_size": 0.1,
    "batch_size": 1,
}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"mixing_matrix": [[0.5, 0.5], [0.4, 0.6]]},
            "mixing_matrix must be symmetric, but differs .* by 0.1",
        ),
        ({"mixing_matrix": [[0.5, 0.4], [0.4, 0.5]]}, "mixing_matrix must be doubly stochastic.* off by 0.1"),
        ({"mixing_matrix": [[-1.0, 2.0], [2.0, -1.0]]}, r"eigenvalues in \[-1, 1\], got one of size 3"),
        ({"mixing_matrix": [[1.0, 0.0]]}, r"mixing_matrix must be a square matrix, got shape \(1, 2\)"),
        ({"hessian": [[math.nan]]}, "hessian must be finite"),
        ({"noise_covariance": [[1.0, 0.0], [0.0, 1.0]]}, r"noise_covariance must be of the Hessian's shape"),
        ({"heterogeneity": [[1.0], [1.0]]}, "heterogeneity must sum to zero .* the sum is off by 2"),
        ({"heterogeneity": [[0.0]]}, r"heterogeneity must be \[agents, dimension\] = \[2, 1\], got \[1, 1\]"),
        ({"step_size": 0.0}, "step_size must be positive and finite, got 0.0"),
        ({"batch_size": -1}, "batch_size must be positive, got -1"),
        ({"steps": -1}, "steps must be 0 or more, or None for the steady state, got -1"),
        ({"method": "gossip"}, "method must be one of centralized, consensus, .*, got 'gossip'"),
        ({"step_size": 1.0}, "step_size must be below 1 = 2 / largest eigenvalue of hessian for diffusion"),
        (
            {"step_size": 0.76, "method": "consensus"},
            r"below 0.75 = \(1 \+ smallest eigenvalue of mixing_matrix\) / largest eigenvalue of hessian",
        ),
    ],
)
def test_what_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        excess_risk(**{**GOOD, **wrong})


def test_just_inside_the_named_bounds_there_is_a_steady_state() -> None:
    assert excess_risk(**{**GOOD, "step_size": 0.999}) > 0
    assert excess_risk(**{**GOOD, "step_size": 0.749}, method="consensus") > 0
