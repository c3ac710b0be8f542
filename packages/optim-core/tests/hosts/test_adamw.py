"""Adam's equations, on a batch of two."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from graftwork_optim_core import SubspaceOptimizer
from graftwork_optim_core.common.sharding import Rows
from graftwork_optim_core.hosts.adamw import AdamWHost
from graftwork_optim_core.subspace.site import Site

HOST = AdamWHost(betas=(0.9, 0.99), eps=1e-3)
SITE = Site((1, 1), Rows(torch.zeros(1, 1)))


def test_eq_moments_and_direction() -> None:
    coarse = [torch.randn(2, 3, dtype=torch.float64), torch.randn(4, 1, dtype=torch.float64)]
    means, squares = ([torch.rand_like(c) for c in coarse] for _ in range(2))
    expected = [
        (0.9 * m + 0.1 * a, 0.99 * v + 0.01 * a * a) for m, v, a in zip(means, squares, coarse, strict=True)
    ]
    HOST.accumulate([means, squares], coarse, [1.0, 1.0], [SITE, SITE])
    for m, v, (mean, square) in zip(means, squares, expected, strict=True):
        torch.testing.assert_close(m, mean)
        torch.testing.assert_close(v, square)
    directions = HOST.direction([means, squares], coarse, [SITE, SITE])
    for direction, (mean, square) in zip(directions, expected, strict=True):
        torch.testing.assert_close(direction.numerator, mean)
        torch.testing.assert_close(direction.denominator, square.sqrt() + 1e-3)


def test_eq_bias_correction() -> None:
    for step in (3.0, torch.tensor(3.0, dtype=torch.float64)):
        correction = HOST.correction(step)
        assert math.isclose(float(correction.mean), 1 / (1 - 0.9**3), rel_tol=1e-12)
        assert math.isclose(float(correction.root), math.sqrt(1 - 0.99**3), rel_tol=1e-12)


def test_equals_torch_where_eps_is_negligible() -> None:
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 12, dtype=torch.float64).view(3, 4)) for _ in range(2))
    options = {"betas": (0.8, 0.95), "eps": 1e-30}
    optimizer = SubspaceOptimizer(
        [ours], lr=0.1, host="adamw", transform="identity", host_options=options, fused=False
    )
    reference = torch.optim.AdamW([theirs], lr=0.1, weight_decay=0.0, **options)
    for _ in range(10):
        gradient: Tensor = torch.randn(3, 4, dtype=torch.float64)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        optimizer.step()
        reference.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"betas": (1.0, 0.9)}, r"betas must be two numbers in \[0, 1\), got \(1\.0, 0\.9\)"),
        ({"eps": 0.0}, r"eps must be greater than 0, got 0\.0"),
    ],
)
def test_options_out_of_range(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdamWHost(**options)  # type: ignore[arg-type]
