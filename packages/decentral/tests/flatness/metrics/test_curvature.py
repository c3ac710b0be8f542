"""Trace, top eigenvalues and rise in random directions: exact where they can be, within errors elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from graftwork_decentral.flatness.metrics import (
    ParameterSpec,
    average_direction_sharpness,
    flat_objective,
    hessian_trace,
    top_eigenvalues,
)


def small_net() -> tuple[Callable[[Tensor], Tensor], Tensor]:
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    inputs, targets = torch.randn(32, 4, dtype=torch.float64), torch.randint(0, 3, (32,))
    objective = flat_objective(
        model,
        lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]),
        (inputs, targets),
    )
    return objective, ParameterSpec.of(model).flatten(model)


def quadratic(hessian: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda w: w @ hessian @ w / 2


def test_hutchinson_is_within_three_standard_errors_of_the_exact_trace() -> None:
    objective, point = small_net()
    exact = float(torch.func.hessian(objective)(point).trace())
    for seed in range(4):
        found = hessian_trace(objective, point, probes=100, seed=seed)
        assert abs(found.value - exact) < 3 * found.standard_error
        assert found.standard_error < 0.25 * exact


def test_its_variance_is_that_of_rademacher_signs() -> None:
    """Twice the squares off the diagonal; Gaussian probes would add those on it."""
    random = torch.randn(6, 6, dtype=torch.float64)
    hessian = random + random.mT + 20 * torch.eye(6, dtype=torch.float64)
    off = hessian - torch.diag(hessian.diagonal())
    probes = 600
    found = hessian_trace(quadratic(hessian), torch.zeros(6, dtype=torch.float64), probes=probes)
    assert found.standard_error == pytest.approx((2 * float(off.square().sum()) / probes) ** 0.5, rel=0.15)
    diagonal = torch.arange(1.0, 7.0)
    one = hessian_trace(lambda w: (diagonal * w**2).sum() / 2, torch.ones(6), probes=1)
    assert one.value == 21.0


def test_lanczos_gives_the_exact_largest_eigenvalues_on_a_small_net() -> None:
    objective, point = small_net()
    exact = torch.func.hessian(objective)(point)
    values = torch.linalg.eigvalsh(exact).flip(0)[:4]
    found = top_eigenvalues(objective, point, 4, tolerance=1e-10)
    torch.testing.assert_close(found.values, values, rtol=1e-9, atol=1e-12)
    for value, vector, residual in zip(found.values, found.vectors, found.residuals, strict=True):
        assert float((exact @ vector - value * vector).norm()) < 1e-8
        assert float(residual) < 1e-9
    torch.testing.assert_close(found.vectors @ found.vectors.mT, torch.eye(4, dtype=torch.float64))


def test_lanczos_stops_early_and_its_residuals_are_true() -> None:
    objective, point = small_net()
    exact = torch.func.hessian(objective)(point)
    found = top_eigenvalues(objective, point, 1, tolerance=1e-2)
    assert found.products < len(point) / 2
    value, vector = found.values[0], found.vectors[0]
    missed = float((exact @ vector - value * vector).norm())
    assert missed == pytest.approx(float(found.residuals[0]), rel=1e-6)
    assert float(torch.linalg.eigvalsh(exact)[-1] - value) <= missed
    assert top_eigenvalues(objective, point, 2, tolerance=1e-12, most_products=3).products == 3


@pytest.mark.parametrize(
    ("eigenvalues", "expected"),
    [
        ([5.0, 5.0, 1.0, 1.0, 1.0], [5.0, 5.0, 1.0]),
        ([-9.0, -1.0, 2.0, 0.0, 0.0], [2.0, 0.0, 0.0]),
        ([3.0, 3.0, 3.0, 3.0, 3.0], [3.0, 3.0, 3.0]),
        ([0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
    ],
)
def test_lanczos_finds_repeated_and_negative_eigenvalues(
    eigenvalues: list[float], expected: list[float]
) -> None:
    directions, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))
    hessian = directions @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ directions.mT
    found = top_eigenvalues(quadratic(hessian), torch.zeros(5, dtype=torch.float64), 3)
    assert found.values.tolist() == pytest.approx(expected, abs=1e-9)


def test_lanczos_in_single_precision() -> None:
    scales = torch.logspace(-3, 2, 200)
    found = top_eigenvalues(lambda w: (scales * w**2).sum() / 2, torch.zeros(200), 3, tolerance=1e-5)
    assert found.values.tolist() == pytest.approx(scales.flip(0)[:3].tolist(), rel=1e-4)


def test_the_rise_in_random_directions_is_exact_where_curvature_is_equal() -> None:
    objective = quadratic(4 * torch.eye(3, dtype=torch.float64))
    found = average_direction_sharpness(objective, torch.ones(3, dtype=torch.float64), 0.1, directions=3)
    assert found.value == pytest.approx(0.1**2 / 2 * 4, rel=1e-12)
    assert found.standard_error < 1e-12


def test_the_rise_in_random_directions_is_the_trace_over_the_dimension() -> None:
    hessian = torch.diag(torch.tensor([1.0, 2.0, 6.0, 11.0], dtype=torch.float64))
    point = torch.randn(4, dtype=torch.float64)
    found = average_direction_sharpness(quadratic(hessian), point, 0.5, directions=500)
    assert abs(found.value - 0.5**2 / 2 * 20 / 4) < 3 * found.standard_error
    assert found.standard_error < 0.02


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, w: hessian_trace(f, w, probes=0), "probes must be 1 or more, got 0"),
        (lambda f, w: top_eigenvalues(f, w, 3), "count must be in 1..2, the number of parameters, got 3"),
        (lambda f, w: top_eigenvalues(f, w, 2, most_products=1), "most_products must be count = 2 or more"),
        (lambda f, w: average_direction_sharpness(f, w, 0.0), "distance must be positive"),
        (lambda f, w: average_direction_sharpness(f, w, 1.0, directions=0), "directions 1 or more"),
    ],
)
def test_what_is_refused(call: Callable[[Callable[[Tensor], Tensor], Tensor], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(lambda w: (w**2).sum(), torch.zeros(2))
