"""Escape from the sharp well: bars on ratios of exit times, and thresholds without noise."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from graftwork_decentral.flatness.lab import (
    DoubleWell,
    ExitTimes,
    Problem,
    Simulation,
    escape_threshold,
    exit_times,
)
from graftwork_decentral.flatness.methods import Method

AGENTS = 8
WELL = DoubleWell()


def lazy_ring() -> Tensor:
    eye = torch.eye(AGENTS, dtype=torch.float64)
    return eye * 2 / 3 + eye.roll(1, 1) / 6 + eye.roll(-1, 1) / 6


def wave(beta: float) -> Tensor:
    angles = 2 * torch.pi * torch.arange(AGENTS, dtype=torch.float64) / AGENTS
    return beta * torch.cos(angles)[:, None]


def problem(sigma: float, beta: float) -> Problem:
    return Problem(WELL, lazy_ring(), 0.02, [[sigma**2]], wave(beta))


@pytest.mark.parametrize("seed", [0, 1])
def test_decentralized_leaves_the_sharp_well_sooner_and_consensus_soonest(seed: int) -> None:
    """sigma 18, beta 2: mean exit times are at least 6 : 1 and 1.35 : 1."""
    means: dict[Method, float] = {}
    for method in ("centralized", "diffusion", "consensus"):
        times = exit_times(
            problem(18, 2), method, [-1.0], WELL.in_flat_well, limit=20_000, replicas=200, seed=seed
        )
        assert times.exits == 200
        means[method] = times.mean
    assert means["centralized"] / means["diffusion"] >= 6
    assert means["diffusion"] / means["consensus"] >= 1.35


def test_exit_times_where_the_line_lies_at_minus_a_quarter() -> None:
    """The reference times 168 +- 10 and 82 +- 5 (sigma 18, beta 0), 71 +- 4 and 50 +- 3 (beta 4)."""
    for beta, method, mean, error in (
        (0, "diffusion", 168, 10),
        (0, "consensus", 82, 5),
        (4, "diffusion", 71, 4),
        (4, "consensus", 50, 3),
    ):
        times = exit_times(
            problem(18, beta),
            method,  # type: ignore[arg-type]
            [-1.0],
            lambda centroids: centroids[:, 0] > -0.25,
            limit=20_000,
            replicas=600,
        )
        assert abs(times.mean - mean) < 3 * math.hypot(error, times.standard_error)


@pytest.mark.parametrize(("method", "threshold"), [("diffusion", 7.70), ("consensus", 7.23)])
def test_threshold_of_heterogeneity_without_noise(method: Method, threshold: float) -> None:
    quiet = Problem(WELL, lazy_ring(), 0.02, heterogeneity=wave(1.0))
    found = escape_threshold(quiet, method, [-1.0], WELL.in_flat_well, low=0, high=20)
    assert found == pytest.approx(threshold, abs=0.02)
    # Both sides, by plain runs.
    for factor, leaves in ((found - 0.02, False), (found + 0.02, True)):
        tilted = Problem(WELL, lazy_ring(), 0.02, heterogeneity=wave(factor))
        run = Simulation(tilted, method, [[-1.0]]).run(5000)
        assert bool(WELL.in_flat_well(run.centroids)) is leaves


def test_centralized_never_leaves_without_noise() -> None:
    quiet = Problem(WELL, lazy_ring(), 0.02, heterogeneity=wave(1.0))
    assert escape_threshold(quiet, "centralized", [-1.0], WELL.in_flat_well, low=0, high=1000) == math.inf


def test_a_large_batch_leaves_centralized_behind_alone() -> None:
    """Batches of 10 000 samples: only methods whose agents disagree still leave (beta 8)."""
    large = Problem(WELL, lazy_ring(), 0.02, [[18.0**2]], wave(8.0), batch_size=10_000)
    exits = {
        method: exit_times(large, method, [-1.0], WELL.in_flat_well, limit=2000, replicas=20).exits
        for method in ("centralized", "diffusion", "consensus")
    }
    assert exits == {"centralized": 0, "diffusion": 20, "consensus": 20}


class Still:
    """A flat landscape, whose exits the test decides on."""

    dimension = 1

    def value(self, points: Tensor) -> Tensor:
        return torch.zeros_like(points[..., 0])

    def gradient(self, points: Tensor) -> Tensor:
        return torch.zeros_like(points)


@pytest.mark.parametrize(
    ("replicas", "second", "total"),
    # Of three the first to leave is dropped, which renumbers the others; of ten it is carried on.
    [(3, 0, 3 + 5 + 10), (10, 1, 3 + 5 + 8 * 10)],
)
def test_censored_runs_count_with_their_time(replicas: int, second: int, total: int) -> None:
    """One exit at step 3, one at step 5, the others never."""
    seen: list[int] = []

    def outside(centroids: Tensor) -> Tensor:
        seen.append(len(centroids))
        gone = torch.zeros(len(centroids), dtype=torch.bool)
        if len(seen) in (3, 5):
            gone[0 if len(seen) == 3 else second] = True
        return gone

    problem = Problem(Still(), [[1.0]], 1.0)
    times = exit_times(problem, "diffusion", [0.0], outside, limit=10, replicas=replicas)
    assert times == ExitTimes(total_time=total, exits=2, replicas=replicas)
    assert times.mean == total / 2
    assert times.standard_error == pytest.approx(total / 2 / math.sqrt(2))
    assert times.censored == pytest.approx(1 - 2 / replicas)


def test_no_exit_at_all_is_an_infinite_mean() -> None:
    times = exit_times(problem(1, 0), "centralized", [-1.0], WELL.in_flat_well, limit=5, replicas=4)
    assert (times.mean, times.standard_error, times.censored) == (math.inf, math.inf, 1.0)
    assert times.total_time == 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 3, "high": 2}, "low and high must be in order"),
        ({"low": 15, "high": 20}, "low must be a factor at which agents stay, got 15"),
    ],
)
def test_a_bracket_that_is_none(options: dict[str, Any], message: str) -> None:
    quiet = Problem(WELL, lazy_ring(), 0.02, heterogeneity=wave(1.0))
    with pytest.raises(ValueError, match=message):
        escape_threshold(quiet, "diffusion", [-1.0], WELL.in_flat_well, **options)


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="limit and replicas must be 1 or more, got 0 and 200"):
        exit_times(problem(1, 0), "diffusion", [-1.0], WELL.in_flat_well, limit=0)
