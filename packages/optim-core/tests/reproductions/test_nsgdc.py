"""Normalized SGD under heavy tails: regression tests of slopes, and what tails do to each method.

Slopes at these lengths say that the code does what it did; they confirm no theorem.

Reached from here: ``reproductions/heavy_tails_figure.py``.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graftwork import Finding, GraftworkError, get_registry
from graftwork_optim_core.normalized.accelerated import ANSGDC
from graftwork_optim_core.normalized.nsgdc import NSGDC
from graftwork_optim_core.normalized.optimizer import NormalizedOptimizer
from graftwork_optim_core.normalized.schedules import KINDS, ScheduleKind, nsgdc_schedule, rate_exponent
from graftwork_optim_core.normalized.variance_reduced import NSGDCVR
from graftwork_optim_core.reproductions import nsgdc
from graftwork_optim_core.reproductions.heavy_tails_measures import (
    GAMMA0,
    GRIDS,
    LevelCurve,
    averager_slope,
    compare,
    curve,
    noise,
    noiseless_slope,
    plateau,
)
from graftwork_optim_core.reproductions.heavy_tails_noise import (
    NoiseKind,
    centred_pareto,
    draw_of,
    hill_estimates,
    symmetric_stable,
)
from graftwork_optim_core.reproductions.heavy_tails_runs import (
    CURVATURE_NOISE,
    DIMENSIONS,
    Setting,
    StepKind,
    curved_problem,
    levels,
    log_problem,
    slope,
)
from graftwork_optim_core.reproductions.nsgdc import reproduce

# Run by the nox session `reproduce`.
at_length = pytest.mark.lengths
HORIZONS = [2**power for power in range(9, 15)]
SHORT_HORIZONS = HORIZONS[:3]
SEED = 1


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("index", [1.2, 1.5, 1.8, 2.0])
def test_the_stable_law_has_its_characteristic_function(index: float) -> None:
    draws = symmetric_stable(index, (200_000,), generator())
    for frequency in (0.3, 1.0, 2.0):
        assert torch.cos(frequency * draws).mean().item() == pytest.approx(
            math.exp(-(frequency**index)), abs=0.006
        )
        assert torch.sin(frequency * draws).mean().item() == pytest.approx(0.0, abs=0.006)


@pytest.mark.parametrize("index", [1.2, 1.5, 1.8])
def test_the_pareto_law_has_its_tail_and_no_mean(index: float) -> None:
    draws = centred_pareto(index, (200_000,), generator()) + index / (index - 1)
    assert draws.min().item() >= 1
    for size in (1.5, 3.0, 10.0):
        assert (draws > size).double().mean().item() == pytest.approx(size**-index, abs=0.004)
    # The sample mean itself has no variance; that of the draws below 100 has.
    below = draws[draws < 100].sum().item() / len(draws)
    expected = index / (index - 1) * (1 - 100 ** (1 - index))
    assert below == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("index", [1.2, 1.8, 3.0])
def test_hills_estimator_finds_the_index_within_its_standard_error(index: float) -> None:
    draws = centred_pareto(index, (50_000,), generator(3)) + index / (index - 1)
    for count in (200, 1000, 5000):
        estimate = hill_estimates(draws)[count - 1].item()
        assert abs(estimate - index) < 3 * index / math.sqrt(count)


def test_hills_estimator_by_hand() -> None:
    sizes = torch.tensor([1.0, math.e**3, math.e])
    # Of the largest alone 1 / log(e^3 / e); of the two largest 2 / (3 + 1).
    assert hill_estimates(sizes).tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("problem", [log_problem(), curved_problem()], ids=["log", "curved"])
def test_gradients_constants_and_where_the_functions_bend(problem: Any) -> None:
    start = torch.full((1, DIMENSIONS), 1.5, dtype=torch.float64)
    # Height by integrating the gradient along the way down, smoothness by finite differences.
    way = torch.linspace(0, 1, 20_001, dtype=torch.float64)[:, None] * start
    along = (problem.gradient(way) * start).sum(1)
    assert torch.trapezoid(along, dx=1 / 20_000).item() == pytest.approx(problem.height, rel=1e-6)
    grid = torch.linspace(-6, 6, 40_001, dtype=torch.float64)[:, None].expand(-1, DIMENSIONS)
    bend = problem.gradient(grid).diff(dim=0) / (12 / 40_000)
    assert bend.max().item() == pytest.approx(problem.smoothness, rel=1e-3)
    assert bend.min().item() < 0


class Noised:
    """The problem as a closure over a parameter, with given noise."""

    def __init__(self, problem: Any, weight: nn.Parameter) -> None:
        self.problem, self.weight = problem, weight
        self.noise: Tensor = torch.zeros(())
        self.phases: Tensor | None = None

    def __call__(self) -> Tensor:
        at = self.weight.detach()[None]
        self.weight.grad = (self.problem.gradient(at) + self.noise)[0]
        if self.phases is not None:
            self.weight.grad += CURVATURE_NOISE * torch.sin(self.weight.detach() + self.phases)
        return self.weight.detach().sum()


@pytest.mark.parametrize(
    ("method", "make"), [("nsgdc", NSGDC), ("nsgdc-vr", NSGDCVR), ("a-nsgdc", ANSGDC), ("sgd", None)]
)
@pytest.mark.parametrize("clip", [None, 0.7])
def test_runs_at_once_are_the_optimizers_step_for_step(
    method: StepKind, make: type[NormalizedOptimizer] | None, clip: float | None
) -> None:
    steps, problem, draw = 300, curved_problem(), draw_of("stable", 1.5, 0.2)
    mixing, length = (1.0, 0.03) if method == "sgd" else (0.2, 0.03)
    setting = Setting(mixing, length, steps, math.inf if clip is None else clip)
    found = levels(method, problem, [setting], draw, 1, SEED)
    weight = nn.Parameter(torch.full((DIMENSIONS,), 1.5, dtype=torch.float64))
    if make is None:
        optimizer: torch.optim.Optimizer = torch.optim.SGD([weight], lr=length)
    else:
        optimizer = make([weight], lr=length, momentum=1 - mixing, clip=clip)  # type: ignore[call-arg]
    closure, own, norms = Noised(problem, weight), generator(SEED), []
    for start in range(0, steps, 128):
        size = min(128, steps - start)
        drawn = draw((size, 1, DIMENSIONS), own)
        if method == "nsgdc-vr":
            phases = 2 * torch.pi * torch.rand((size, 1, DIMENSIONS), dtype=torch.float64, generator=own)
        for offset in range(size):
            if isinstance(optimizer, ANSGDC):
                optimizer.eval()
            norms.append(problem.gradient(weight.detach()[None]).norm().item())
            if isinstance(optimizer, ANSGDC):
                optimizer.train()
            closure.noise = drawn[offset, 0]
            closure.phases = phases[offset, 0] if method == "nsgdc-vr" else None
            if isinstance(optimizer, NSGDCVR):
                optimizer.step(closure)
                continue
            closure()
            if make is None and clip is not None:
                assert weight.grad is not None
                weight.grad *= min(1.0, clip / weight.grad.norm().item())
            optimizer.step()
    assert found.whole.item() == pytest.approx(sum(norms) / steps, rel=1e-9)
    assert found.tail.item() == pytest.approx(sum(norms[steps // 2 :]) / (steps / 2), rel=1e-9)


def test_runs_of_different_lengths_do_not_disturb_each_other() -> None:
    """Settings come back in their own order, the short ones first here, and count what they have seen."""
    settings = [Setting(1.0, 0.01, 200), Setting(1.0, 0.02, 700), Setting(1.0, 0.01, 500)]

    def silent(shape: tuple[int, ...], _: torch.Generator) -> Tensor:
        return torch.zeros(shape, dtype=torch.float64)

    together = levels("nsgdc", log_problem(), settings, silent, 2, SEED)
    for number, setting in enumerate(settings):
        alone = levels("nsgdc", log_problem(), [setting], silent, 1, SEED)
        torch.testing.assert_close(together.tail[number], alone.tail[0].expand(2))
        torch.testing.assert_close(together.whole[number], alone.whole[0].expand(2))


@pytest.mark.parametrize(
    "index", [1.5, pytest.param(1.8, marks=at_length), pytest.param(2.0, marks=at_length)]
)
def test_10_the_averager_has_its_exponent(index: float) -> None:
    assert averager_slope(index, SEED) == pytest.approx((index - 1) / index, abs=0.03)


@pytest.mark.parametrize(
    ("kind", "p", "horizons"),
    [
        ("nsgdc", 1.5, SHORT_HORIZONS),
        *(pytest.param(kind, p, HORIZONS, marks=at_length) for kind in KINDS for p in (1.2, 1.5, 1.8)),
    ],
)
def test_11_slopes_of_the_tail_average(kind: ScheduleKind, p: float, horizons: list[int]) -> None:
    """A regression test: tails fall at least as fast as the bound on whole runs; these do not."""
    measured = curve(kind, "stable", p, horizons, 16, SEED)
    assert measured.tail_slope >= rate_exponent(kind, p)
    assert rate_exponent(kind, p) - 0.06 < measured.whole_slope < rate_exponent(kind, p)


@pytest.mark.parametrize(
    ("p", "steps"), [(1.5, 512), *(pytest.param(p, 4096, marks=at_length) for p in (1.2, 1.5, 1.8))]
)
def test_11_order_of_the_methods(p: float, steps: int) -> None:
    """By 64 seeds: at p = 1.2 the means of 16 do not always keep the order."""
    means = {}
    for kind in KINDS:
        schedule = nsgdc_schedule(kind, p, steps, gamma0=GAMMA0)
        setting = Setting(1 - schedule.momentum, schedule.lr, steps)
        found = levels(kind, log_problem(), [setting], noise("stable", p), 64, SEED)
        means[kind] = found.tail.mean().item()
    assert means["nsgdc-vr"] < means["a-nsgdc"] < means["nsgdc"]


@pytest.mark.parametrize(
    ("p", "longest", "gain"),
    [(1.2, 4096, 0.08), *(pytest.param(p, 16384, 0.15, marks=at_length) for p in (1.2, 1.5))],
)
def test_12_skewed_noise_stops_normalization_without_momentum(p: float, longest: int, gain: float) -> None:
    without, with_momentum = plateau("pareto", p, [longest // 4, longest], 16, SEED)
    assert 1 - (without[1] / without[0]).item() < 0.05
    assert 1 - (with_momentum[1] / with_momentum[0]).item() > gain


@pytest.mark.parametrize("horizons", [SHORT_HORIZONS, pytest.param(HORIZONS, marks=at_length)])
def test_13_without_noise_the_schedule_that_knows_it_falls_with_the_root(horizons: list[int]) -> None:
    aware, blind = noiseless_slope(horizons)
    assert 0.45 <= aware <= 0.52
    assert blind < 0.25


@pytest.mark.parametrize("steps", [500, pytest.param(2000, marks=at_length)])
def test_14_worst_seed_at_small_tail_index(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And that clipped SGD, tuned alike, is not beaten on symmetric noise: nothing here claims that it is."""
    for method, (step, settings) in GRIDS.items():
        monkeypatch.setitem(GRIDS, method, (step, [replace(one, steps=steps) for one in settings]))
    tails = {method: compare(method, "stable", 1.2, 16, SEED).tails for method in GRIDS}
    assert len(tails["SGD"]) == 32
    assert tails["SGD"].max() >= 4 * tails["NSGDC"].max()
    assert tails["NSGDC"].max() < 1.3 * tails["NSGDC"].mean()
    assert tails["clipped SGD"].max() < 1.2 * tails["NSGDC"].max()


def test_a_slope_by_hand() -> None:
    assert slope([1, 4], torch.tensor([8.0, 2.0])) == pytest.approx(1.0)
    assert slope([2, 8, 32], torch.tensor([3.0, 3.0, 3.0])) == pytest.approx(0.0, abs=1e-12)


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Finding]]:
    """The whole path on short runs; ``graftwork reproduce nsgdc`` takes the whole length."""
    output = tmp_path_factory.mktemp("nsgdc") / "new"

    def shortened(horizons: Sequence[int]) -> list[int]:
        return [horizon // 16 for horizon in horizons]

    def short_curve(
        kind: ScheduleKind, noise: NoiseKind, p: float, horizons: Sequence[int], seeds: int, seed: int
    ) -> LevelCurve:
        return replace(curve(kind, noise, p, shortened(horizons), seeds, seed), horizons=horizons)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nsgdc, "curve", short_curve)
        patch.setattr(
            nsgdc, "plateau", lambda noise, p, lengths, *of: plateau(noise, p, shortened(lengths), *of)
        )
        patch.setattr(nsgdc, "noiseless_slope", lambda horizons: noiseless_slope(shortened(horizons)))
        for method, (step, settings) in GRIDS.items():
            patch.setitem(GRIDS, method, (step, [replace(one, steps=40) for one in settings]))
        patch.setattr(nsgdc, "averager_slope", partial(averager_slope, chains=100))
        return output, reproduce(output, longest=2048, seeds=3)


def test_reproduction_writes_what_it_returns(reproduced: tuple[Path, list[Finding]]) -> None:
    output, findings = reproduced
    written = json.loads((output / "findings.json").read_text())
    assert [entry["quantity"] for entry in written] == [finding.quantity for finding in findings]
    assert len({finding.quantity for finding in findings}) == len(findings) == 2 * 18 + 3 + 4 + 2 + 2 * 18
    assert all(math.isfinite(finding.measured) for finding in findings)
    by_quantity = {finding.quantity: finding for finding in findings}
    with (output / "slopes.csv").open() as file:
        slopes = list(csv.DictReader(file))
    assert len(slopes) == 18
    names = {"nsgdc": "NSGDC", "nsgdc-vr": "NSGDC-VR", "a-nsgdc": "A-NSGDC"}
    for row in slopes:
        name = f"{names[row['method']]}, {row['noise']} noise, p = {row['p']}"
        tail, whole = (
            by_quantity[f"slope of the tail average, {name}"],
            by_quantity[f"slope of the run average, {name}"],
        )
        assert float(row["tail average"]) == pytest.approx(tail.measured, abs=1e-4)
        assert float(row["run average"]) == pytest.approx(whole.measured, abs=1e-4)
        assert float(row["exponent of the theorem"]) == pytest.approx(tail.published or 0.0, abs=1e-4)
        assert "confirms" in tail.note
    with (output / "levels.csv").open() as file:
        assert [int(row["steps"]) for row in csv.DictReader(file)] == [512, 1024, 2048] * 18
    with (output / "comparison.csv").open() as file:
        compared = list(csv.DictReader(file))
    assert [row["method"] for row in compared] == list(GRIDS) * 6
    for row in compared:
        name = f"{row['method']}, {row['noise']} noise, p = {row['p']}"
        worst, mean = (by_quantity[f"tail gradient norm, {kind} seed, {name}"] for kind in ("worst", "mean"))
        assert float(row["worst"]) == pytest.approx(worst.measured, rel=1e-5)
        assert float(row["mean"]) == pytest.approx(mean.measured, rel=1e-5)
        assert int(row["tried"]) == len(GRIDS[row["method"]][1])
        assert "6 seeds that chose nothing" in worst.note


def test_nothing_claims_what_was_not_shown(reproduced: tuple[Path, list[Finding]]) -> None:
    said = " ".join(f"{finding.quantity} {finding.note}" for finding in reproduced[1]) + str(nsgdc.__doc__)
    for claim in ("rates are reproduced", "confirms the rate", "beats clipped", "outperform"):
        assert claim not in said


def test_the_figure_shows_something(reproduced: tuple[Path, list[Finding]]) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.image import imread

    picture = imread(reproduced[0] / "nsgdc.png")
    assert picture.shape[:2] == (1320, 1560)
    assert picture[..., :3].std() > 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"longest": 1024}, "longest must be a power of 2, 2048 or more, got 1024"),
        ({"longest": 3000}, "longest must be a power of 2, 2048 or more, got 3000"),
        ({"seeds": 1}, "seeds must be 2 or more, got 1"),
        ({"language_model_steps": 5}, "language_model_steps must be 20 or more, got 5"),
    ],
)
def test_options_out_of_range_are_named(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reproduce(tmp_path / "never", **options)
    assert not (tmp_path / "never").exists()


def test_the_language_model_names_the_package_that_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFTWORK_PLUGINS", "optim-core")
    get_registry.cache_clear()
    try:
        with pytest.raises(GraftworkError, match="task/lm-pretrain comes with graftwork-text"):
            reproduce(tmp_path / "never", language_model=True)
    finally:
        get_registry.cache_clear()
    assert not (tmp_path / "never").exists()


class Bigrams(nn.Module):
    """A model of next tokens that takes a moment to train."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        output: Tensor = self.table(tokens)
        return output


class Toy:
    """What the reproduction asks of a task, on tokens that repeat themselves."""

    def build_model(self) -> nn.Module:
        return Bigrams(11)

    def batches(self, split: str, *, rank: int, world_size: int, seed: int) -> Any:
        own = generator(seed)
        while True:
            tokens = torch.randint(0, 11, (16, 1), generator=own) + torch.arange(9)
            yield {"input_ids": tokens[:, :-1] % 11, "targets": tokens[:, 1:] % 11}

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        logits = model(batch["input_ids"]).flatten(0, 1)
        return nn.functional.cross_entropy(logits, batch["targets"].flatten()), {}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        with torch.no_grad():
            batch = next(self.batches("validation", rank=0, world_size=1, seed=9))
            return {"loss": self.loss(model, batch)[0].item()}


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Any:
    from graftwork_optim_core.reproductions import heavy_tails_language_model as language

    monkeypatch.setattr(language, "choose", lambda kind, name, options: Toy)
    monkeypatch.setattr(language, "SEQUENCES", 64)
    return language


def test_gradient_noise_is_taken_about_the_mean_of_single_sequences(toy: Any) -> None:
    task = toy.make_task()
    model = task.build_model()
    norms = toy.noise_norms(task, model, 5, 64)
    stream = task.batches("train", rank=0, world_size=1, seed=5)
    rows = []
    for _ in range(4):
        batch = next(stream)
        for row in range(16):
            loss, _ = task.loss(model, {name: tensor[row : row + 1] for name, tensor in batch.items()})
            rows.append(torch.autograd.grad(loss, model.table.weight)[0].flatten())
    stacked = torch.stack(rows).double()
    torch.testing.assert_close(norms, (stacked - stacked.mean(0)).norm(dim=1), rtol=1e-5, atol=1e-6)


def test_the_language_model_is_trained_by_every_method(toy: Any, tmp_path: Path) -> None:
    findings = toy.measure(tmp_path, 20, 0)
    losses = {f.quantity.split(", ")[-1]: f for f in findings if "validation loss" in f.quantity}
    assert list(losses) == ["NSGDC", "AdamW", "SGD", "clipped SGD"]
    assert all(finding.measured < math.log(11) for finding in losses.values())
    indices = [finding for finding in findings if "tail index" in finding.quantity]
    assert len(indices) == 9
    assert all("standard error" in finding.note for finding in indices)
    with (tmp_path / "language_model.csv").open() as file:
        rows = list(csv.DictReader(file))
    judged = [row for row in rows if row["purpose"] == "judged"]
    assert len(judged) == 4 * toy.FRESH_SEEDS
    for method in toy.METHODS:
        tried = {
            float(r["lr"]): float(r["validation loss"])
            for r in rows
            if r["method"] == method.name and r["purpose"] == "choice"
        }
        assert set(tried) == set(method.rates)
        mine = [row for row in judged if row["method"] == method.name]
        assert {row["seed"] for row in mine} == {"1", "2", "3"}
        assert {float(row["lr"]) for row in mine} == {min(tried, key=tried.__getitem__)}
        mean = sum(float(row["validation loss"]) for row in mine) / len(mine)
        assert losses[method.name].measured == pytest.approx(mean, abs=1e-5)
    with (tmp_path / "gradient_noise.csv").open() as file:
        points = list(csv.DictReader(file))
    assert len(points) == 3 * 63
    for point in points:
        count, estimate = int(point["k"]), float(point["tail index"])
        assert float(point["standard error"]) == pytest.approx(estimate / math.sqrt(count), abs=1e-3)
    if (tmp_path / "gradient_noise.png").exists():
        assert (tmp_path / "gradient_noise.png").stat().st_size > 10_000


def test_equal_seeds_start_from_equal_weights_and_leave_the_global_generator(toy: Any) -> None:
    before = torch.get_rng_state()
    one, two, other = (toy.fresh_model(toy.make_task(), seed).table.weight for seed in (3, 3, 4))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())


def test_rates_warm_up_and_decay_to_a_tenth(toy: Any) -> None:
    factors = [toy.rate_factor(step, 100) for step in range(100)]
    assert factors[0] == 0.1
    assert factors[9] == factors[10] == 1.0
    assert 0.1 < factors[-1] < 0.11
    assert all(later <= earlier for earlier, later in pairwise(factors[10:]))
