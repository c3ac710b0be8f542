"""Simulated excess risk against the exact one: 200 replicas to 1 % and 3 %, snapshots to three errors."""

from __future__ import annotations

import time
from typing import get_args

import pytest
import torch
from torch import Tensor

from graftwork_decentral.flatness.lab import Problem, Quadratic, simulated_excess_risk
from graftwork_decentral.flatness.methods import Method
from graftwork_decentral.flatness.theory import excess_risk, excess_risk_general

AGENTS, DIMENSION, STEP = 8, 5, 0.1


def ring() -> Tensor:
    eye = torch.eye(AGENTS, dtype=torch.float64)
    return (eye + eye.roll(1, 1) + eye.roll(-1, 1)) / 3


def drawn(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    directions, _ = torch.linalg.qr(torch.randn(DIMENSION, DIMENSION, generator=random, dtype=torch.float64))
    hessian = directions * torch.linspace(0.22, 1.82, DIMENSION, dtype=torch.float64) @ directions.mT
    root = torch.randn(DIMENSION, DIMENSION, generator=random, dtype=torch.float64)
    noise = root @ root.mT
    local = torch.randn(AGENTS, DIMENSION, generator=random, dtype=torch.float64)
    return hessian, noise * 4.78 / torch.trace(noise), local - local.mean(0)


def test_200_replicas_agree_with_the_theory_and_take_less_than_20_seconds_of_one_core() -> None:
    hessian, noise, local = drawn(7)
    problem = Problem(Quadratic(hessian), ring(), STEP, noise, local)
    zero = torch.zeros(DIMENSION)
    bars: dict[Method, float] = {"centralized": 0.03, "diffusion": 0.01, "consensus": 0.01}
    started = time.process_time()
    for method, bar in bars.items():
        exact = excess_risk(ring(), hessian, noise, local, STEP, 1, method=method)
        found = simulated_excess_risk(problem, method, zero, first=200, last=1500, seed=1)
        assert found.value == pytest.approx(exact, rel=bar)
        assert abs(found.value - exact) < 4 * found.standard_error
    assert time.process_time() - started < 20


@pytest.mark.parametrize("method", get_args(Method))
@pytest.mark.parametrize("steps", [1, 12])
def test_a_snapshot_of_4000_replicas_is_within_three_standard_errors(method: Method, steps: int) -> None:
    hessian, noise, local = drawn(8)
    problem = Problem(Quadratic(hessian), ring(), STEP, noise, local, batch_size=2)
    found = simulated_excess_risk(
        problem, method, torch.zeros(DIMENSION), first=steps, last=steps, replicas=4000, seed=2
    )
    exact = excess_risk(ring(), hessian, noise, local, STEP, 2, steps, method=method)
    assert abs(found.value - exact) < 3 * found.standard_error
    assert found.standard_error < 0.03 * exact


@pytest.mark.parametrize("method", get_args(Method))
def test_a_hessian_and_noise_per_agent(method: Method) -> None:
    parts = [drawn(seed) for seed in range(AGENTS)]
    hessians, noises = (torch.stack([part[index] for part in parts]) for index in (0, 1))
    noises *= torch.linspace(0.2, 2, AGENTS, dtype=torch.float64)[:, None, None]
    local = parts[0][2]
    problem = Problem(Quadratic(hessians), ring(), STEP, noises, local)
    found = simulated_excess_risk(
        problem, method, torch.zeros(DIMENSION), first=10, last=10, replicas=4000, seed=3
    )
    exact = excess_risk_general(ring(), hessians, noises, local, STEP, 1, 10, method=method)
    assert abs(found.value - exact) < 3 * found.standard_error


def test_what_is_refused() -> None:
    problem = Problem(Quadratic([[1.0]]), [[1.0]], 0.1)
    with pytest.raises(ValueError, match="first and last must be 0 or more and in order, got 3 and 2"):
        simulated_excess_risk(problem, "diffusion", [0.0], first=3, last=2)
    with pytest.raises(ValueError, match="replicas must be 2 or more, got 1"):
        simulated_excess_risk(problem, "diffusion", [0.0], first=1, last=2, replicas=1)
