"""The simulator against the same steps in loops, and against itself where two methods are one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from graftwork_decentral.flatness.lab import DoubleWell, Problem, Quadratic, Simulation
from graftwork_decentral.flatness.methods import Method

METHODS: tuple[Method, ...] = get_args(Method)
HESSIAN = [[1.5, 0.3], [0.3, 0.4]]
NOISE = [[1.0, 0.6], [0.6, 2.0]]


def ring(agents: int) -> Tensor:
    eye = torch.eye(agents, dtype=torch.float64)
    return eye * 2 / 3 + eye.roll(1, 1) / 6 + eye.roll(-1, 1) / 6


def sum_of(tensors: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(tensors)).sum(0)


@pytest.mark.parametrize("method", METHODS)
def test_without_noise_it_takes_the_steps_of_a_loop_over_agents(method: Method) -> None:
    agents, step = 5, 0.2
    weights = ring(agents)
    local = torch.randn(agents, 2, dtype=torch.float64)
    local -= local.mean(0)
    hessian = torch.tensor(HESSIAN, dtype=torch.float64)
    problem = Problem(Quadratic(HESSIAN), weights, step, heterogeneity=local)
    run = Simulation(problem, method, [[1.0, -2.0], [0.5, 3.0]]).run(4)
    for replica, start in enumerate(([1.0, -2.0], [0.5, 3.0])):
        models = [torch.tensor(start, dtype=torch.float64) for _ in range(agents)]
        for _ in range(4):
            mixed = [sum_of(weights[k, m] * models[m] for m in range(agents)) for k in range(agents)]
            at = mixed if method == "cta-diffusion" else models
            gradients = [hessian @ at[k] + local[k] for k in range(agents)]
            if method == "centralized":
                mean = sum_of(gradients) / agents
                models = [model - step * mean for model in models]
            elif method == "diffusion":
                adapted = [models[k] - step * gradients[k] for k in range(agents)]
                models = [sum_of(weights[k, m] * adapted[m] for m in range(agents)) for k in range(agents)]
            else:
                models = [mixed[k] - step * gradients[k] for k in range(agents)]
        expected = torch.stack(models)
        torch.testing.assert_close(run.models[replica].expand_as(expected), expected)
        torch.testing.assert_close(run.centroids[replica], expected.mean(0))


@pytest.mark.parametrize(
    ("landscape", "covariance", "start"),
    [(Quadratic(HESSIAN), NOISE, [1.0, 2.0]), (DoubleWell(), [[14.0**2]], [-1.0])],
)
def test_diffusion_with_full_averaging_is_centralized_run_for_run(
    landscape: Any, covariance: Any, start: list[float]
) -> None:
    agents = 6
    local = torch.linspace(-1, 1, agents, dtype=torch.float64)[:, None].expand(-1, landscape.dimension)
    full = torch.full((agents, agents), 1 / agents, dtype=torch.float64)
    problem = Problem(landscape, full, 0.02, covariance, local, batch_size=2)
    runs = {
        method: Simulation(problem, method, [start] * 50, seed=4).run(300)
        for method in ("centralized", "diffusion", "consensus")
    }
    centralized = runs["centralized"].models
    assert centralized.shape == (50, 1, landscape.dimension)
    assert centralized.std(0).min() > 0.01
    diffusion = runs["diffusion"].models
    torch.testing.assert_close(diffusion, centralized.expand_as(diffusion), rtol=1e-9, atol=1e-9)
    assert float((runs["consensus"].models - centralized).abs().max()) > 0.01


@pytest.mark.parametrize("per_agent", [False, True])
def test_noise_has_the_covariance_that_was_asked_for_over_the_batch(per_agent: bool) -> None:
    """One step from zero with a flat landscape: models are the noise itself."""
    agents, replicas, batch = 3, 20_000, 4
    wanted = torch.tensor(NOISE, dtype=torch.float64)
    scales = torch.tensor([1.0, 2.0, 3.0] if per_agent else [1.0] * 3, dtype=torch.float64)
    covariance = wanted * scales[:, None, None] if per_agent else wanted
    problem = Problem(Quadratic(torch.zeros(2, 2)), ring(agents), 1.0, covariance, batch_size=batch)
    models = Simulation(problem, "consensus", torch.zeros(replicas, 2)).run(1).models
    flat = models.reshape(replicas, -1)
    found = torch.einsum("ri,rj->ij", flat, flat) / replicas
    expected = torch.block_diag(*(wanted * scale / batch for scale in scales))  # type: ignore[no-untyped-call]
    # A covariance of n samples is off by at most about sqrt(2 / n) of the variances.
    bound = 5 * (2 / replicas) ** 0.5 * float(expected.max())
    torch.testing.assert_close(found, expected, rtol=0, atol=bound)


def test_equal_seeds_give_equal_runs_and_no_global_draws() -> None:
    problem = Problem(Quadratic(HESSIAN), ring(4), 0.1, NOISE)
    before = torch.get_rng_state()
    one, two, other = (
        Simulation(problem, "diffusion", torch.zeros(3, 2), seed=seed).run(5).models for seed in (1, 1, 2)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())


def test_keeping_some_replicas_keeps_their_points_and_scales() -> None:
    local = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    problem = Problem(Quadratic(HESSIAN), ring(4), 0.1, heterogeneity=local)
    scales = torch.tensor([0.0, 1.0, 2.0])
    run = Simulation(problem, "diffusion", torch.ones(3, 2), heterogeneity_scales=scales).run(3)
    whole = run.models.clone()
    run.keep(torch.tensor([True, False, True]))
    assert torch.equal(run.models, whole[[0, 2]])
    run.run(2)
    alone = Simulation(problem, "diffusion", torch.ones(1, 2), heterogeneity_scales=[2.0]).run(5)
    torch.testing.assert_close(run.models[1:], alone.models)


class Quartic:
    """A landscape of the user's own."""

    dimension = 1

    def value(self, points: Tensor) -> Tensor:
        return (points**4).sum(-1) / 4

    def gradient(self, points: Tensor) -> Tensor:
        return points**3


def test_any_landscape_can_be_brought() -> None:
    problem = Problem(Quartic(), ring(3), 0.1)
    run = Simulation(problem, "consensus", [[1.0]]).run(1)
    torch.testing.assert_close(run.centroids, torch.tensor([[0.9]], dtype=torch.float64))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step_size": -1.0}, "step_size must be positive and finite, got -1.0"),
        ({"batch_size": 0}, "batch_size must be positive, got 0"),
        ({"mixing_matrix": [[0.5, 0.4], [0.4, 0.5]]}, "mixing_matrix must be doubly stochastic"),
        ({"noise_covariance": [[1.0]]}, "noise_covariance must be of dimension 2, got 1"),
        ({"noise_covariance": [[1.0, 2.0], [2.0, 1.0]]}, "must be positive semidefinite, .* is -1"),
        (
            {"noise_covariance": [NOISE] * 3},
            r"noise_covariance must be \[agents, dimension, dimension\] with 2",
        ),
        ({"heterogeneity": [[1.0, 0.0], [0.0, 0.0]]}, "heterogeneity must sum to zero"),
    ],
)
def test_a_problem_refuses(options: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "landscape": Quadratic(HESSIAN),
        "mixing_matrix": [[0.75, 0.25], [0.25, 0.75]],
        "step_size": 0.1,
    }
    with pytest.raises(ValueError, match=message):
        Problem(**{**good, **options})


def test_a_simulation_refuses() -> None:
    problem = Problem(Quadratic(HESSIAN), ring(3), 0.1)
    with pytest.raises(ValueError, match=r"starts must be \[replicas, 2\], got \[2\]"):
        Simulation(problem, "diffusion", [1.0, 2.0])
    with pytest.raises(ValueError, match="method must be one of"):
        Simulation(problem, "gossip", [[1.0, 2.0]])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"heterogeneity_scales must be \[1\], got \[2\]"):
        Simulation(problem, "diffusion", [[1.0, 2.0]], heterogeneity_scales=[1.0, 2.0])
