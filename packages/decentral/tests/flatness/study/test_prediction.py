"""The prediction from products with the Hessian against the theory from matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from graftwork_decentral.flatness.metrics import Objective
from graftwork_decentral.flatness.study.prediction import Surroundings, predict, quadrature
from graftwork_decentral.flatness.theory import excess_risk
from graftwork_decentral.topology import one_peer_exponential, ring

AGENTS, SIZE, STEP, BATCH = 6, 3, 0.1, 3.0


class Case:
    """A quadratic whose sampled noise has exactly the covariance that the theory is given."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(5)
        factors = torch.randn(2, SIZE, SIZE, generator=generator, dtype=torch.float64)
        self.hessian, self.noise = factors @ factors.mT
        apart = torch.randn(AGENTS, SIZE, generator=generator, dtype=torch.float64)
        self.apart = apart - apart.mean(0)
        roots = torch.linalg.cholesky(self.noise / BATCH).mT * (SIZE / 2) ** 0.5
        moved = torch.cat([roots, -roots])
        self.surroundings = Surroundings.at(
            torch.zeros(SIZE, dtype=torch.float64),
            [self.objective(own) for own in self.apart],
            [
                [self.objective(own + one), self.objective(own - one)]
                for own, one in zip(self.apart, moved, strict=True)
            ],
        )

    def objective(self, slope: Tensor) -> Objective:
        return lambda point: 0.5 * point @ self.hessian @ point + slope @ point

    def product(self, vector: Tensor) -> Tensor:
        image: Tensor = self.hessian @ vector
        return image

    def predict(self, method: str, matrix: Tensor, step: float = STEP, steps: int = 10**6) -> Any:
        return predict(self.surroundings, self.product, method, matrix, step, steps, products=SIZE)


@pytest.fixture
def case() -> Case:
    return Case()


@pytest.mark.parametrize("steps", [1, 7, None])
@pytest.mark.parametrize("method", ["centralized", "diffusion", "consensus"])
def test_exact_excess_risk_needs_only_products(case: Case, method: Any, steps: int | None) -> None:
    matrix = ring(AGENTS, lazy=True).mixing_matrix
    found = case.predict(method, matrix, steps=10**6 if steps is None else steps)
    arguments = (matrix, case.hessian, case.noise, case.apart, STEP, BATCH, steps)
    assert found.excess_risk == pytest.approx(excess_risk(*arguments, method=method), rel=1e-9)
    shared = excess_risk(*arguments, method="centralized")
    assert found.shared == pytest.approx(shared, rel=1e-9)
    assert (found.disagreement == 0) == (method == "centralized")
    assert case.surroundings.noise == pytest.approx(float(case.noise.trace()) / BATCH)


@pytest.mark.parametrize("power", [lambda h: h, lambda h: h**3, torch.exp])
def test_quadrature_is_exact_with_as_many_products_as_parameters(
    case: Case, power: Callable[[Tensor], Tensor]
) -> None:
    vector = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    nodes, weights = quadrature(case.product, vector, SIZE)
    values, vectors = torch.linalg.eigh(case.hessian)
    expected = (power(values) * (vectors.mT @ vector).square()).sum()
    torch.testing.assert_close((weights * power(nodes)).sum(), expected, rtol=1e-11, atol=0)


def test_quadrature_stops_where_the_subspace_ends() -> None:
    nodes, weights = quadrature(lambda vector: 3 * vector, torch.ones(5, dtype=torch.float64), 4)
    torch.testing.assert_close(nodes, torch.tensor([3.0], dtype=torch.float64))
    torch.testing.assert_close(weights, torch.tensor([5.0], dtype=torch.float64))


def test_nothing_is_predicted_of_what_the_theory_does_not_cover(case: Case) -> None:
    assert case.predict("gt-atc", ring(AGENTS).mixing_matrix) is None
    directed = one_peer_exponential(AGENTS).at(0).mixing_matrix
    assert case.predict("diffusion", directed) is None
    assert case.predict("consensus", ring(AGENTS).mixing_matrix, step=10.0) is None
