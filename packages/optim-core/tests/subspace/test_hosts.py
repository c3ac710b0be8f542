"""The host's equations, on a batch of two."""

from __future__ import annotations

import math

import torch

from graftwork_optim_core.subspace.hosts import AdamWHost

OPTIONS = {"betas": (0.9, 0.99), "eps": 1e-3}


def test_eq_moments_and_direction() -> None:
    coarse = [torch.randn(2, 3, dtype=torch.float64), torch.randn(4, 1, dtype=torch.float64)]
    means, squares = ([torch.rand_like(c) for c in coarse] for _ in range(2))
    expected = [
        (0.9 * m + 0.1 * a, 0.99 * v + 0.01 * a * a) for m, v, a in zip(means, squares, coarse, strict=True)
    ]
    host = AdamWHost()
    host.accumulate([means, squares], coarse, OPTIONS)
    for m, v, (mean, square) in zip(means, squares, expected, strict=True):
        torch.testing.assert_close(m, mean)
        torch.testing.assert_close(v, square)
    for direction, (mean, square) in zip(host.direction([means, squares], OPTIONS), expected, strict=True):
        torch.testing.assert_close(direction.numerator, mean)
        torch.testing.assert_close(direction.denominator, square.sqrt() + 1e-3)


def test_eq_bias_correction() -> None:
    correction = AdamWHost().correction(3.0, OPTIONS)
    assert math.isclose(float(correction.mean), 1 / (1 - 0.9**3), rel_tol=1e-12)
    assert math.isclose(float(correction.root), math.sqrt(1 - 0.99**3), rel_tol=1e-12)
