"""Measures over agents: exact on quadratics, and equal to what the theory is given and gives.

Reached from here: ``flatness/estimate.py``.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from graftwork_decentral.flatness.estimate import Estimate
from graftwork_decentral.flatness.lab import Problem, Quadratic, Simulation
from graftwork_decentral.flatness.metrics import (
    ParameterSpec,
    consensus_distance,
    excess_risk_of_agents,
    flat_objective,
    gradient,
    gradient_noise_trace,
    hessian_trace,
    heterogeneity,
    noiseless_descent,
    over_agents,
    weighted_consensus_distance,
)
from graftwork_decentral.flatness.theory import consensus_covariance, excess_risk

HESSIAN = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)


def bowl(w: Tensor) -> Tensor:
    return w @ HESSIAN @ w / 2


def test_excess_risk_is_the_centroids_and_half_the_weighted_distance_on_a_quadratic() -> None:
    agents = torch.randn(7, 2, dtype=torch.float64) + 1
    risk = excess_risk_of_agents(bowl, agents, 0.0)
    assert risk.agents == pytest.approx([float(bowl(agent)) for agent in agents])
    weighted = weighted_consensus_distance(bowl, agents)
    offsets = agents - agents.mean(0)
    assert weighted == pytest.approx(float(torch.trace(HESSIAN @ offsets.mT @ offsets)) / 7, rel=1e-12)
    assert consensus_distance(agents) == pytest.approx(float(offsets.square().sum()) / 7, rel=1e-12)
    assert risk.mean == pytest.approx(risk.centroid + weighted / 2, rel=1e-12)


def test_a_run_is_measured_as_the_theory_says() -> None:
    """Distances and risk of 200 noisy runs agree with the exact ones within their standard errors."""
    agents = 4
    eye = torch.eye(agents, dtype=torch.float64)
    weights = eye * 2 / 3 + eye.roll(1, 1) / 6 + eye.roll(-1, 1) / 6
    local = torch.tensor([[1.0, 0], [0, -1.0], [-1.0, 0], [0, 1.0]])
    noise = torch.eye(2, dtype=torch.float64)
    case = (weights, HESSIAN, noise, local, 0.1, 1)
    run = Simulation(
        Problem(Quadratic(HESSIAN), weights, 0.1, noise, local), "diffusion", torch.zeros(200, 2)
    )
    models = run.run(100).models
    spread = consensus_covariance(*case)
    measured = torch.tensor(
        [
            (
                consensus_distance(one),
                weighted_consensus_distance(bowl, one),
                excess_risk_of_agents(bowl, one, 0.0).mean,
            )
            for one in models
        ]
    )
    exact = torch.tensor([float(spread.trace()), float((HESSIAN @ spread).trace()), excess_risk(*case)])
    errors = measured.std(0) / 200**0.5
    assert bool(((measured.mean(0) - exact).abs() < 3.5 * errors).all())


def test_gradient_noise_is_the_covariance_of_one_sample() -> None:
    """Least squares: batches of 5 of a finite set of samples, against the covariance of all of them."""
    torch.manual_seed(1)
    samples = torch.randn(4000, 3, dtype=torch.float64) * torch.tensor([1.0, 2.0, 0.5])
    model = nn.Linear(3, 1, bias=False).double()
    point = ParameterSpec.of(model).flatten(model)

    def objective(batch: Tensor) -> Callable[[Tensor], Tensor]:
        return flat_objective(model, lambda model, rows: model(rows).square().mean(), batch)

    single = torch.stack([gradient(objective(row[None]), point) for row in samples])
    exact = float(single.var(0).sum())
    assert gradient_noise_trace(single) == pytest.approx(exact, rel=1e-9)
    batches = (gradient(objective(rows), point) for rows in samples.split(5))  # type: ignore[no-untyped-call]
    assert gradient_noise_trace(batches, batch_size=5) == pytest.approx(exact, rel=0.2)


def test_the_weight_of_the_distance_is_the_curvature_at_the_centroid() -> None:
    """w^3 has curvature 6w: 12 at the centroid of 1 and 3."""
    agents = torch.tensor([[1.0], [3.0]])
    assert weighted_consensus_distance(lambda w: (w**3).sum(), agents) == 12.0


def test_heterogeneity_by_hand() -> None:
    gradients = torch.tensor([[1.0, 0.0], [-1.0, 2.0], [0.0, -2.0]])
    assert heterogeneity(gradients) == 10.0
    assert heterogeneity(gradients, about_mean=True) == 10.0
    assert heterogeneity(gradients + 5, about_mean=True) == pytest.approx(10.0)


def test_any_measure_is_taken_of_every_agent_and_of_the_centroid() -> None:
    agents = torch.tensor([[1.0], [2.0], [3.0]])
    traces = over_agents(lambda point: hessian_trace(lambda w: (w**3).sum(), point, probes=1), agents)
    assert traces.agents == (6.0, 12.0, 18.0)
    assert traces.centroid == traces.mean == 12.0
    assert over_agents(lambda _: Estimate(4.0, 1.0), agents).agents == (4.0,) * 3


def test_descent_finds_the_minimum_below_and_never_rises() -> None:
    start = torch.tensor([3.0, -2.0], dtype=torch.float64)
    point, value = noiseless_descent(bowl, start, steps=300, learning_rate=50.0)
    assert value < 1e-10
    assert float(point.norm()) < 1e-4
    assert torch.equal(start, torch.tensor([3.0, -2.0], dtype=torch.float64))
    for learning_rate in (0.1, 50.0):
        heights = [
            noiseless_descent(bowl, start, steps=steps, learning_rate=learning_rate)[1] for steps in range(6)
        ]
        assert heights == sorted(heights, reverse=True)
        assert heights[0] == float(bowl(start))
    bottom = torch.zeros(2, dtype=torch.float64)
    assert noiseless_descent(bowl, bottom, steps=5)[1] == 0.0


def test_what_is_refused() -> None:
    flat = torch.zeros(3)
    for call in (
        consensus_distance,
        lambda agents: weighted_consensus_distance(bowl, agents),
        lambda agents: excess_risk_of_agents(bowl, agents, 0.0),
    ):
        with pytest.raises(ValueError, match=r"agents must be \[agents, parameters\], got \[3\]"):
            call(flat)
    with pytest.raises(ValueError, match=r"gradients must be \[agents, parameters\], got \[3\]"):
        heterogeneity(flat)
    with pytest.raises(ValueError, match="gradients must be of two batches or more, got 1"):
        gradient_noise_trace([flat])
    with pytest.raises(ValueError, match="batch_size must be 1 or more, got 0"):
        gradient_noise_trace([flat, flat], batch_size=0)
    with pytest.raises(ValueError, match="steps must be 0 or more, learning_rate positive, got 1 and 0"):
        noiseless_descent(bowl, flat, steps=1, learning_rate=0)
