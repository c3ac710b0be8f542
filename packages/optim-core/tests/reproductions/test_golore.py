"""GaLore stalls where the theory says, and GoLore and larger batches at refreshes get past it."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from graftwork import Finding
from graftwork_optim_core.galore import GaLoreAdamW
from graftwork_optim_core.reproductions.golore import METHODS, ScaledSchedule, reproduce
from graftwork_optim_core.reproductions.stalling_problem import OptimizerOf, StallingProblem, descend
from graftwork_optim_core.subspace.optimizer import SubspaceOptimizer

PUBLISHED = StallingProblem.drawn()
RATE, STEPS = 3e-3, 2000


def projected(
    refresh_every: int,
    random_last: float = 0.0,
    *,
    rate: float = RATE,
    steps: int = STEPS,
    host: str = "msgd",
    host_options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> OptimizerOf:
    return partial(
        SubspaceOptimizer,
        lr=rate,
        host=host,
        host_options={"momentum": 0.0} if host_options is None else host_options,
        transform="golore",
        transform_options={
            "rank": 4,
            "side": "left",
            "refresh_every": refresh_every,
            "random_last": random_last,
            "total_steps": steps,
            "moments": "project",
            "seed": seed,
        },
    )


def gap(optimizer_of: OptimizerOf, *, draws: int = 1, seed: int = 0) -> float:
    last = descend(PUBLISHED, optimizer_of, STEPS, refresh_draws=draws, seed=seed)[-1][1]
    return last - PUBLISHED.minimum


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Finding]]:
    output = tmp_path_factory.mktemp("golore") / "new"
    return output, reproduce(output, steps=STEPS)


@pytest.fixture
def measured(reproduced: tuple[Path, list[Finding]]) -> dict[str, float]:
    return {finding.quantity: finding.measured for finding in reproduced[1]}


def test_section_5_the_problem_is_the_published_one() -> None:
    assert PUBLISHED.slope[0, 0].item() == pytest.approx(1.92691529, abs=5e-9)
    assert PUBLISHED.slope.trace().item() == pytest.approx(0.12145719, abs=5e-9)
    assert PUBLISHED.value(PUBLISHED.start) == pytest.approx(0.81072859, abs=5e-9)
    assert PUBLISHED.minimum == pytest.approx(-23.21744122, abs=5e-9)
    assert PUBLISHED.stall_level == pytest.approx(-20.776178, abs=5e-7)
    assert [round(value, 4) for value in PUBLISHED.singular_values.tolist()] == [
        5.0450,
        3.9469,
        1.9764,
        1.4958,
        0.8941,
        0.2883,
    ]


def test_section_5_the_gradient_is_unbiased_with_the_stated_variance() -> None:
    problem = StallingProblem.drawn(seed=3, size=7, rank=2, noise=1.5)
    point = torch.randn(7, 7, dtype=torch.float64, requires_grad=True)
    value = 0.5 * point[:5].square().sum() + (problem.slope * point[:5, :5]).sum()
    (true,) = torch.autograd.grad(value, point)
    here = point.detach()
    assert problem.value(here) == pytest.approx(value.item(), abs=1e-12)
    plus, minus = (problem.gradient(here, sign) for sign in (1.0, -1.0))
    torch.testing.assert_close((plus + minus) / 2, true)
    assert (plus - true).square().sum().item() == pytest.approx(2 * 1.5**2)
    assert (minus - true).square().sum().item() == pytest.approx(2 * 1.5**2)
    # Minus D, in the rows that f uses, is where the minimum is.
    best = here.clone()
    best[:5] = 0.0
    best[:5, :5] = -problem.slope
    assert problem.value(best) == pytest.approx(problem.minimum, abs=1e-12)


@pytest.mark.parametrize("host", ["msgd", "adamw"])
def test_g4_g5_the_optimizer_follows_the_equations(host: str) -> None:
    """Momentum in each new basis, Adam's mean square as it is: the update written out, step by step."""
    steps, rate, refresh_every = 200, 0.01, 7
    options = {"momentum": 0.9, "dampening": 0.9} if host == "msgd" else {}
    make = projected(refresh_every, 0.5, rate=rate, steps=steps, host=host, host_options=options)
    point = torch.nn.Parameter(PUBLISHED.start.clone())
    optimizer = make([point])
    expected, basis = PUBLISHED.start.clone(), torch.zeros(10, 4, dtype=torch.float64)
    mean, square = torch.zeros(4, 10, dtype=torch.float64), torch.zeros(4, 10, dtype=torch.float64)
    for step in range(steps):
        sign = 1.0 if (step * step) % 3 else -1.0
        point.grad = PUBLISHED.gradient(point.detach(), sign)
        gradient = PUBLISHED.gradient(expected, sign)
        optimizer.step()
        if step % refresh_every == 0:
            new = optimizer.state[point]["basis_left"].clone()
            torch.testing.assert_close(new.T @ new, torch.eye(4, dtype=torch.float64))
            if step < steps / 2:
                best = torch.linalg.svdvals(gradient)[:4].square().sum().item()
                assert (new.T @ gradient).square().sum().item() == pytest.approx(best, rel=1e-9)
            mean, basis = new.T @ (basis @ mean), new
        coarse = basis.T @ gradient
        if host == "msgd":
            mean = coarse if step == 0 else 0.9 * mean + 0.1 * coarse
            expected -= rate * basis @ mean
        else:
            mean, square = 0.9 * mean + 0.1 * coarse, 0.999 * square + 0.001 * coarse**2
            corrected = math.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))
            expected -= rate * corrected * basis @ (mean / (square.sqrt() + 1e-6))
        torch.testing.assert_close(point.detach(), expected, rtol=0, atol=1e-10)


def _flat() -> StallingProblem:
    return replace(PUBLISHED, slope=torch.zeros_like(PUBLISHED.slope))


@pytest.mark.lengths
def test_g5_exact_freeze_without_slope() -> None:
    """D = 0: a tenth of the published number of steps at ten times the rate."""
    curve = descend(_flat(), projected(10, rate=0.03), STEPS, records=20)
    assert all(abs(value - 0.75) < 1e-12 for _, value in curve)
    assert descend(_flat(), projected(10, 0.5, rate=0.03), STEPS)[-1][1] < 0.05
    half_way = dict(descend(_flat(), projected(10, 0.5, rate=0.03), STEPS, records=2))[STEPS // 2]
    assert half_way == pytest.approx(0.75, abs=1e-12)
    full = partial(
        SubspaceOptimizer, lr=0.03, host="msgd", host_options={"momentum": 0.0}, transform="identity"
    )
    assert descend(_flat(), full, STEPS)[-1][1] < 1e-12


def test_g5_exact_freeze_with_adam_as_with_sgd() -> None:
    for moments in ("keep", "project"):
        adam = partial(GaLoreAdamW, lr=0.03, rank=4, side="left", refresh_every=10, moments=moments)
        assert descend(_flat(), adam, 500)[-1][1] == pytest.approx(0.75, abs=1e-12)


@pytest.mark.parametrize("refresh_every", [pytest.param(1, marks=pytest.mark.lengths), 10])
def test_g5_closed_form_stall_level(refresh_every: int) -> None:
    stalled_early = 0
    for seed in range(4):
        problem = StallingProblem.drawn(seed)
        (_, half_way), (_, last) = descend(problem, projected(refresh_every), STEPS, seed=seed, records=2)[1:]
        lowest, highest = problem.stall_interval(RATE, refresh_every)
        assert lowest <= last <= highest
        assert problem.minimum + 0.3 < lowest
        if half_way <= highest:
            stalled_early += 1
            assert last == pytest.approx(half_way, abs=1e-9)
    assert stalled_early >= 2


def test_g5_table_with_a_basis_each_step(measured: dict[str, float]) -> None:
    """The published schedule at a hundredth of the steps: h = 3e-3, T = 1."""
    gaps = {name: value - PUBLISHED.minimum for name, value in measured.items()}
    assert 1e-4 < gaps["f at the end, SGD, full space"] < 2e-4
    assert 2.35 < gaps["f at the end, SGD, GaLore"] < 2.45
    assert 0.03 < gaps["f at the end, SGD, GaLore, 10 draws at a refresh"] < 0.08
    assert gaps["f at the end, SGD, GaLore, 100 draws at a refresh"] < 0.02
    assert 0.06 < gaps["f at the end, SGD, GoLore@75%"] < 0.09
    assert 0.15 < gaps["f at the end, SGD, GoLore@100%"] < 0.23
    ratio = gaps["f at the end, SGD, GaLore"] / gaps["f at the end, SGD, GoLore@75%"]
    assert 30 < ratio < 38


@pytest.mark.lengths
def test_g5_table_with_a_basis_every_tenth_step() -> None:
    assert 2.35 < gap(projected(10)) < 2.45
    assert gap(projected(10), draws=64, seed=1) < 0.02
    assert 0.06 < gap(projected(10, 0.75, seed=1), seed=1) < 0.09
    assert 0.15 < gap(projected(10, 1.0, seed=1), seed=1) < 0.23


def test_g5_table_with_adam(measured: dict[str, float]) -> None:
    gaps = {name: value - PUBLISHED.minimum for name, value in measured.items()}
    assert gaps["f at the end, Adam, full space"] < 1e-6
    assert 2.35 < gaps["f at the end, Adam, GaLore"] < 2.45
    assert 0.15 < gaps["f at the end, Adam, GaLore, 100 draws at a refresh"] < 0.23
    assert 0.04 < gaps["f at the end, Adam, GoLore@50%"] < 0.10


def test_g5_projecting_the_momentum_is_measurable(measured: dict[str, float]) -> None:
    """The bars for Adam are the range over the seeds, wider than that of the momentum alone."""
    gaps = {name.removeprefix("f - min f at the end, "): value for name, value in measured.items()}
    assert 0.54 < gaps["SGD with momentum 0.9, momentum projected"] < 0.62
    assert 0.84 < gaps["SGD with momentum 0.9, momentum kept as it is"] < 0.96
    assert 0.003 < gaps["Adam, momentum projected"] < 0.012
    assert 0.017 < gaps["Adam, momentum kept as it is"] < 0.06


def test_every_scaled_schedule_goes_the_published_distance_on_as_many_bases() -> None:
    published = {"SGD": (200_000, 3e-5, 100), "Adam": (100_000, 3e-5, 100)}
    for host in ("SGD", "Adam"):
        whole = ScaledSchedule.of(host, 200_000)
        assert (whole.steps, whole.learning_rate, whole.refresh_every) == published[host]
        assert whole.betas == (0.9, 0.999)
        for steps in (2000, 4000, 20_000):
            scaled = ScaledSchedule.of(host, steps)
            assert scaled.steps * scaled.learning_rate == pytest.approx(whole.steps * whole.learning_rate)
            assert scaled.steps / scaled.refresh_every == whole.steps / whole.refresh_every
            for short, long in zip(scaled.betas, whole.betas, strict=True):
                assert scaled.steps * math.log(short) == pytest.approx(whole.steps * math.log(long))


def test_large_batches_are_drawn_at_refreshes_only() -> None:
    seen: list[Tensor] = []

    class Watched(SubspaceOptimizer):
        def step(self, closure: Any = None) -> Any:
            (point,) = self.param_groups[0]["params"]
            seen.append(point.grad[9, 9].abs().clone())
            return super().step(closure)

    make = projected(5)
    assert isinstance(make, partial)
    descend(PUBLISHED, partial(Watched, **make.keywords), 40, refresh_draws=1000)
    small = [bool(size < 0.2) for size in seen]
    assert small == [step % 5 == 0 for step in range(40)]
    assert all(size == 1.0 for size, averaged in zip(seen, small, strict=True) if not averaged)


def test_reproduction_writes_what_it_returns(reproduced: tuple[Path, list[Finding]]) -> None:
    output, findings = reproduced
    written = json.loads((output / "findings.json").read_text())
    assert [entry["quantity"] for entry in written] == [finding.quantity for finding in findings]
    assert len({finding.quantity for finding in findings}) == len(findings) == 2 + len(METHODS) + 2 + 4
    by_name = {finding.quantity: finding for finding in findings}
    assert by_name["f at the end with D = 0, GaLore"].measured == pytest.approx(0.75, abs=1e-12)
    assert by_name["f at the end with D = 0, GoLore@50%"].measured < 0.05
    assert Counter(finding.origin for finding in findings) == {
        "published": 1 + len(METHODS),
        "computed": 1,
        "": 6,
    }
    for method in METHODS:
        finding = by_name[f"f at the end, {method.host}, {method.name}"]
        assert finding.published == method.published
        assert finding.measured == pytest.approx(method.full_length, abs=0.02)
        assert finding.measured == pytest.approx(method.published, abs=0.2)
        assert "steps, lr 0.003, T 1" in finding.note
        assert "at the published" in finding.note
    with (output / "levels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["host"], row["method"]) for row in rows] == [(m.host, m.name) for m in METHODS]
    with (output / "curves.csv").open() as file:
        points = list(csv.DictReader(file))
    assert len(points) == len(METHODS) * 201
    last = {(point["host"], point["method"]): float(point["f"]) for point in points}
    assert all(float(row["f"]) == pytest.approx(last[row["host"], row["method"]], abs=1e-6) for row in rows)


def test_the_figure_shows_both_hosts(reproduced: tuple[Path, list[Finding]]) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.image import imread

    picture = imread(reproduced[0] / "golore.png")
    assert picture.shape[:2] == (1050, 1650)
    assert picture[..., :3].std() > 0.05


@pytest.mark.parametrize("steps", [0, -2000, 3000])
def test_a_length_that_the_schedule_cannot_be_scaled_to_is_refused(tmp_path: Path, steps: int) -> None:
    with pytest.raises(ValueError, match=f"steps must be a positive multiple of 2000.*got {steps}"):
        reproduce(tmp_path / "never", steps=steps)
    assert not (tmp_path / "never").exists()
