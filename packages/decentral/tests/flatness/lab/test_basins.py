"""Shares of 1 000 uniform starts that end in the flat well."""

from __future__ import annotations

import pytest
import torch

from graftwork_decentral.flatness.lab import DoubleWell, Problem, basin_share
from graftwork_decentral.flatness.methods import Method

AGENTS = 8
WELL = DoubleWell()
METHODS: tuple[Method, ...] = ("centralized", "diffusion", "consensus")


def shares(sigma: float, beta: float) -> list[float]:
    eye = torch.eye(AGENTS, dtype=torch.float64)
    ring = eye * 2 / 3 + eye.roll(1, 1) / 6 + eye.roll(-1, 1) / 6
    angles = 2 * torch.pi * torch.arange(AGENTS, dtype=torch.float64) / AGENTS
    problem = Problem(WELL, ring, 0.02, [[sigma**2]], beta * torch.cos(angles)[:, None])
    starts = torch.rand(1000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 5 - 2
    return [basin_share(problem, method, starts, WELL.in_flat_well, steps=3000).value for method in METHODS]


def test_enough_heterogeneity_moves_every_decentralized_run_to_the_flat_well() -> None:
    """sigma 6, beta 8; reference .638, 1.000, 1.000."""
    centralized, diffusion, consensus = shares(6, 8)
    assert centralized == pytest.approx(0.638, abs=0.05)
    assert diffusion >= 0.999
    assert consensus >= 0.999


def test_noise_and_heterogeneity_together_order_the_methods() -> None:
    """sigma 10, beta 4; reference .634, .945, .989."""
    centralized, diffusion, consensus = shares(10, 4)
    assert centralized == pytest.approx(0.634, abs=0.05)
    assert diffusion == pytest.approx(0.945, abs=0.03)
    assert consensus == pytest.approx(0.989, abs=0.015)
    assert centralized < diffusion < consensus


def test_too_little_of_either_changes_nothing() -> None:
    """sigma 6, beta 2; reference .638, .621, .617."""
    for share in shares(6, 2):
        assert share == pytest.approx(0.63, abs=0.05)


def test_steps_below_zero_are_refused() -> None:
    problem = Problem(WELL, [[1.0]], 0.02)
    with pytest.raises(ValueError, match="steps must be 0 or more, got -1"):
        basin_share(problem, "diffusion", [[0.0]], WELL.in_flat_well, steps=-1)
