"""The stacked form: equal to the modal one where that holds, and to plain recursion where it does not.

Reached from here: ``flatness/methods.py``.
"""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import pytest

from graftwork_decentral.flatness.methods import Method
from graftwork_decentral.flatness.theory import excess_risk, excess_risk_general

METHODS: tuple[Method, ...] = get_args(Method)


def random_case(seed: int, *, alike: bool) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    agents, dimension = int(random.integers(3, 8)), int(random.integers(1, 5))
    linked = np.triu(random.random((agents, agents)) < 0.3, 1)
    linked[np.arange(agents - 1), np.arange(1, agents)] = True
    linked |= linked.T
    degrees = linked.sum(1)
    weights = linked / (1 + np.maximum(degrees[:, None], degrees[None, :]))
    weights += np.diag(1 - weights.sum(1))
    drawn = 1 if alike else agents
    roots = random.normal(size=(2, drawn, dimension, dimension))
    matrices = roots @ roots.swapaxes(-1, -2) / dimension + 0.05 * np.eye(dimension)
    hessians, noises = (np.broadcast_to(one, (agents, dimension, dimension)) for one in matrices)
    local = random.normal(size=(agents, dimension)) * 2
    bound = min(1 + np.linalg.eigvalsh(weights)[0], 2.0) / np.linalg.eigvalsh(hessians).max()
    return {
        "mixing_matrix": weights,
        "hessians": hessians,
        "noise_covariances": noises,
        "heterogeneity": local - local.mean(0),
        "step_size": float(random.uniform(0.05, 0.95) * bound),
        "batch_size": float(random.choice([1, 8, math.inf])),
    }


def modal_of(case: dict[str, Any]) -> dict[str, Any]:
    shared = {**case, "hessian": case["hessians"][0], "noise_covariance": case["noise_covariances"][0]}
    del shared["hessians"], shared["noise_covariances"]
    return shared


@pytest.mark.parametrize("method", METHODS)
def test_both_forms_agree_on_a_graph_in_two_parts(method: Method) -> None:
    """Eigenvalue 1 is double there, and only one of its directions is the mean."""
    half = [[0.6, 0.4], [0.4, 0.6]]
    weights = np.kron(np.eye(2), half)
    local = np.array([[1.0], [2.0], [-3.5], [0.5]])
    ones = np.ones((4, 1, 1))
    modal = excess_risk(weights, [[1.0]], [[1.0]], local, 0.1, 1, method=method)
    general = excess_risk_general(weights, ones, ones, local, 0.1, 1, method=method)
    assert general == pytest.approx(modal, rel=1e-12)


@pytest.mark.parametrize("steps", [None, 1, 6, 100])
def test_modal_and_lyapunov_forms_agree_to_1e_12(steps: int | None) -> None:
    for seed in range(40):
        case = random_case(seed, alike=True)
        for method in METHODS:
            modal = excess_risk(**modal_of(case), steps=steps, method=method)
            general = excess_risk_general(**case, steps=steps, method=method)
            assert general == pytest.approx(modal, rel=1e-12, abs=1e-300), (seed, method)


def test_order_of_the_methods_on_300_cases_with_a_hessian_and_noise_per_agent() -> None:
    for seed in range(300):
        case = random_case(seed, alike=False)
        centralized, diffusion, consensus = (
            excess_risk_general(**case, method=method) for method in ("centralized", "diffusion", "consensus")
        )
        slack = 1e-10 * consensus
        assert centralized <= diffusion + slack, seed
        assert diffusion <= consensus + slack, seed


@pytest.mark.parametrize("method", METHODS)
def test_finite_horizon_is_plain_recursion_agent_by_agent(method: Method) -> None:
    """Written without Kronecker products: mean and covariance of every pair of agents."""
    case = random_case(21, alike=False)
    weights, hessians, noises = case["mixing_matrix"], case["hessians"], case["noise_covariances"]
    step: float = case["step_size"]
    agents, dimension = case["heterogeneity"].shape
    if method == "centralized":
        weights = np.full((agents, agents), 1 / agents)
    mean = np.zeros((agents, dimension))
    pairs = np.zeros((agents, agents, dimension, dimension))
    identity = np.eye(dimension)
    horizon = 11
    for _ in range(horizon):
        if method == "consensus":
            maps = np.array([[weights[k, m] * identity for m in range(agents)] for k in range(agents)])
            maps[np.arange(agents), np.arange(agents)] -= step * hessians
            gains = np.array([[identity * (k == m) for m in range(agents)] for k in range(agents)])
        else:
            adapt = [identity - step * hessians[k] for k in range(agents)]
            if method == "centralized":
                adapt = [identity - step * hessians.mean(0)] * agents
            late = method == "cta-diffusion"
            maps = np.array(
                [[weights[k, m] * adapt[k if late else m] for m in range(agents)] for k in range(agents)]
            )
            gains = np.array(
                [
                    [identity * ((k == m) if late else weights[k, m]) for m in range(agents)]
                    for k in range(agents)
                ]
            )
        mean = np.einsum("kmij,mj->ki", maps, mean) - step * np.einsum(
            "kmij,mj->ki", gains, case["heterogeneity"]
        )
        noise = np.einsum("kmij,mjl,nmal->knia", gains, noises, gains) * step**2 / case["batch_size"]
        pairs = np.einsum("kmij,mnjl,qnal->kqia", maps, pairs, maps) + noise
    own = pairs[np.arange(agents), np.arange(agents)] + mean[:, :, None] * mean[:, None, :]
    expected = np.einsum("kij,ij->", own, hessians.mean(0)) / (2 * agents)
    assert excess_risk_general(**case, steps=horizon, method=method) == pytest.approx(expected, rel=1e-12)


def test_a_long_horizon_reaches_the_steady_state() -> None:
    case = random_case(4, alike=False)
    for method in METHODS:
        late = excess_risk_general(**case, steps=100_000, method=method)
        assert late == pytest.approx(excess_risk_general(**case, method=method), rel=1e-10)
        assert excess_risk_general(**case, steps=0, method=method) == 0.0


GOOD: dict[str, Any] = {
    "mixing_matrix": [[0.75, 0.25], [0.25, 0.75]],
    "hessians": [[[2.0]], [[1.0]]],
    "noise_covariances": [[[1.0]], [[1.0]]],
    "heterogeneity": [[1.0], [-1.0]],
    "step_size": 0.1,
    "batch_size": 1,
}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hessians": [[[1.0]]]}, r"hessians must be \[agents, dimension, dimension\] with 2 agents, got"),
        ({"hessians": [[[1.0, 1], [0, 1.0]]] * 2}, "hessians must be symmetric"),
        (
            {"noise_covariances": [[[1.0, 0], [0, 1.0]]] * 2},
            "noise_covariances must be of the Hessians' shape",
        ),
        ({"heterogeneity": [[1.0], [1.0]]}, "heterogeneity must sum to zero"),
        (
            {"step_size": 1.5},
            r"spectral radius is 1\.\d+, and must be below 1; any step_size below 1 has one",
        ),
        ({"step_size": 1.2, "method": "consensus"}, "any step_size below 0.75 has one"),
        ({"step_size": 1.4, "method": "centralized"}, "any step_size below 1.33333 has one"),
        ({"hessians": [[[-2.0]], [[1.0]]]}, "the mean Hessian must be positive definite, or give steps"),
    ],
)
def test_what_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        excess_risk_general(**{**GOOD, **wrong})


def test_one_agent_may_curve_downwards_if_the_mean_does_not() -> None:
    case = {**GOOD, "hessians": [[[-0.2]], [[1.0]]]}
    assert excess_risk_general(**case) > 0
