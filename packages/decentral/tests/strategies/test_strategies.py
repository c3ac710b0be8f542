"""The seven strategies: what they equal, what they reach, what they refuse, and how they round.

Reached from here: ``strategies/exact_diffusion.py``, ``strategies/extra.py``, ``strategies/form.py``,
``strategies/gradient_tracking.py``, ``strategies/stability.py``, ``strategies/triple.py``,
``strategies/uncorrected.py``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from graftwork import GraftworkError
from graftwork_decentral import strategies
from graftwork_decentral.communication import StackedCommunicator
from graftwork_decentral.strategies import Strategy
from graftwork_decentral.topology import (
    full,
    hypercube,
    one_peer_exponential,
    ring,
    static_exponential,
    torus,
)

EXACT = ("exact_diffusion", "extra", "gt_atc", "gt_semi_atc", "gt_non_atc")
ALL = (*EXACT, "diffusion", "consensus")
LAZY_RING = ring(10, lazy=True)


def made(name: str) -> Strategy:
    return getattr(strategies, name)()  # type: ignore[no-any-return]


def as_triple(strategy: Strategy) -> Strategy:
    return dataclasses.replace(strategy, form=None)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("step_size", [0.1, lambda step: 0.2 / (1 + step / 20)], ids=["constant", "decaying"])
def test_the_form_equals_the_triple(
    problem: Any, name: str, step_size: Callable[[int], float] | float
) -> None:
    communicator = StackedCommunicator(LAZY_RING, path="differences")
    fast = problem.run(made(name), communicator, 300, step_size=step_size)
    triple = problem.run(as_triple(made(name)), communicator, 300, step_size=step_size)
    assert float((fast - triple).abs().max()) <= 3e-14


@pytest.mark.parametrize("name", EXACT)
def test_exact_strategies_reach_the_minimizer_of_the_mean(problem: Any, name: str) -> None:
    assert problem.error(made(name), LAZY_RING, 2000) <= 1e-18


@pytest.mark.parametrize("name", ["diffusion", "consensus"])
def test_uncorrected_strategies_settle_beside_it(problem: Any, name: str) -> None:
    early, late = (problem.error(made(name), LAZY_RING, steps) for steps in (1000, 2000))
    assert late > 1.0
    assert late == pytest.approx(early, rel=1e-6)


@pytest.mark.parametrize("name", ["diffusion"])
def test_diffusion_on_the_mean_is_centralized_descent(problem: Any, name: str) -> None:
    point = problem.run(made(name), StackedCommunicator(full(10)), 50)
    centre = torch.zeros(5, dtype=torch.float64)
    for _ in range(50):
        centre = centre - 0.1 * ((problem.curvatures @ centre) - problem.pulls).mean(0)
    assert float((point - centre).abs().max()) < 1e-13


@pytest.mark.parametrize("name", ["gt_atc", "gt_semi_atc"])
@pytest.mark.parametrize(
    "graphs", [static_exponential(10), one_peer_exponential(10)], ids=["static", "one peer"]
)
def test_tracking_takes_directed_and_changing_graphs(problem: Any, name: str, graphs: Any) -> None:
    strategy = made(name)
    strategy.validate(graphs)
    assert problem.error(strategy, graphs, 2000, step_size=0.05) <= 1e-18


@pytest.mark.parametrize("name", ["exact_diffusion", "extra"])
@pytest.mark.parametrize(
    "graphs", [ring(16), torus(16), hypercube(16)], ids=["even ring", "4 x 4 torus", "hypercube"]
)
class TestEigenvaluesBelowMinusAThird:
    def test_are_refused(self, name: str, graphs: Any) -> None:
        with pytest.raises(GraftworkError, match=r"diverges on .* use lazy weights"):
            made(name).validate(graphs)

    def test_are_made_lazy_on_request(self, problem_of_sixteen: Any, name: str, graphs: Any) -> None:
        suited = made(name).suited(graphs)
        assert suited.name == f"lazy {graphs.name}"
        assert suited.lambda_min > -1e-12
        assert problem_of_sixteen.error(made(name), suited, 2000) <= 1e-15


@pytest.mark.parametrize("name", ["exact_diffusion", "extra"])
@pytest.mark.parametrize(
    ("graphs", "at_least"), [(torus(16), 1e8), (hypercube(16), 1e8)], ids=["torus", "cube"]
)
def test_unrefused_they_diverge(problem_of_sixteen: Any, name: str, graphs: Any, at_least: float) -> None:
    with torch.no_grad():
        errors = [problem_of_sixteen.error(made(name), graphs, steps, step_size=0.02) for steps in (50, 400)]
    assert errors[0] > at_least
    assert errors[1] > errors[0] ** 3
    assert problem_of_sixteen.error(made("gt_semi_atc"), graphs, 2000, step_size=0.02) < 1e-15


@pytest.mark.parametrize("name", ["exact_diffusion", "extra"])
def test_they_refuse_directed_graphs_and_say_what_takes_them(name: str) -> None:
    with pytest.raises(GraftworkError, match=r"needs a symmetric mixing matrix.*gt-atc"):
        made(name).validate(static_exponential(8))


@pytest.mark.parametrize(
    "graphs", [LAZY_RING, ring(9), torus(9, lazy=True)], ids=["lazy ring", "odd ring", "torus"]
)
class TestLargestStep:
    @pytest.mark.parametrize("name", ["exact_diffusion", "gt_atc", "gt_semi_atc"])
    def test_of_combining_after_the_move_is_two(self, graphs: Any, name: str) -> None:
        assert made(name).largest_step(graphs) == pytest.approx(2.0, abs=1e-3)

    def test_of_extra(self, graphs: Any) -> None:
        assert made("extra").largest_step(graphs) == pytest.approx((1 + 3 * graphs.lambda_min) / 2, abs=1e-3)

    def test_of_tracking_without_combining(self, graphs: Any) -> None:
        assert made("gt_non_atc").largest_step(graphs) == pytest.approx(
            (1 + graphs.lambda_min) ** 2 / 2, abs=1e-3
        )


def test_a_step_that_is_too_large_is_refused_with_the_bound() -> None:
    with pytest.raises(GraftworkError, match=r"must be below (0\.99|1).* and is 1\.2"):
        made("extra").validate(LAZY_RING, step_times_smoothness=1.2)
    made("exact_diffusion").validate(LAZY_RING, step_times_smoothness=1.2)


@pytest.mark.parametrize("name", ["exact_diffusion", "gt_semi_atc"])
def test_float32_does_not_drift_in_20_000_steps(problem: Any, name: str) -> None:
    error = problem.error(made(name), ring(10, lazy=True, dyadic=False), 20_000, dtype=torch.float32)
    assert error <= 1e-8


@pytest.mark.parametrize("name", ["exact_diffusion", "gt_semi_atc"])
def test_bfloat16_points_stay_beside_the_minimizer(problem: Any, name: str) -> None:
    assert problem.error(made(name), LAZY_RING, 1000, dtype=torch.bfloat16) <= 1e-1


@pytest.mark.parametrize("name", EXACT)
def test_state_is_float32_at_least(name: str) -> None:
    form = made(name).start(torch.zeros(2, 3, dtype=torch.bfloat16))
    assert form.state()
    assert all(value.dtype == torch.float32 for value in form.state().values())


@pytest.mark.parametrize("name", ["exact_diffusion", "extra"])
def test_the_mean_of_the_correction_stays_zero(problem: Any, name: str) -> None:
    point = torch.zeros_like(problem.pulls)
    form = made(name).start(point)
    communicator = StackedCommunicator(LAZY_RING, path="differences")
    for step in range(200):
        gradient = (problem.curvatures @ point[..., None])[..., 0] - problem.pulls
        before = point.mean(0)
        point = form.combine(point, point - 0.1 * gradient, communicator.at(step))
        assert float((point.mean(0) - before + 0.1 * gradient.mean(0)).abs().max()) < 1e-13
    assert float(form.state()["correction"].mean(0).abs().max()) < 1e-13


@pytest.mark.parametrize("name", ["gt_atc", "gt_semi_atc", "gt_non_atc"])
def test_the_mean_of_the_tracker_is_the_mean_direction(problem: Any, name: str) -> None:
    point = torch.zeros_like(problem.pulls)
    form = made(name).start(point)
    communicator = StackedCommunicator(LAZY_RING, path="differences")
    for step in range(100):
        direction = 0.1 * ((problem.curvatures @ point[..., None])[..., 0] - problem.pulls)
        tracker = form.prepare(direction, communicator.at(step))
        assert float((tracker.mean(0) - direction.mean(0)).abs().max()) < 1e-13
        point = form.combine(point, point - tracker, communicator.at(step))


@pytest.mark.parametrize("name", EXACT)
def test_repair_after_a_change_of_members(name: str) -> None:
    torch.manual_seed(3)
    point = torch.zeros(4, 3, dtype=torch.float64)
    form = made(name).start(point)
    for value in form.state().values():
        value.copy_(torch.randn_like(value))
    form.after_membership_change(lambda value: value.mean(0))
    if name.startswith("gt"):
        assert torch.equal(form.state()["tracked"], form.state()["direction"])
    else:
        assert all(float(value.mean(0).abs().max()) < 1e-15 for value in form.state().values())


@pytest.mark.parametrize("name", ALL)
def test_a_failed_exchange_leaves_a_state_that_the_repair_mends(problem: Any, name: str) -> None:
    class LostError(Exception):
        pass

    def failing(payloads: Any) -> Any:
        raise LostError

    point = torch.zeros_like(problem.pulls)
    form = made(name).start(point)
    exchange = StackedCommunicator(LAZY_RING, path="differences").at(0)
    for _ in range(3):
        direction = 0.1 * ((problem.curvatures @ point[..., None])[..., 0] - problem.pulls)
        point = form.combine(point, point - form.prepare(direction, exchange), exchange)
    before = {key: value.clone() for key, value in form.state().items()}
    with pytest.raises(LostError):
        form.combine(point, point - form.prepare(point, failing), failing)
    if name not in ("gt_semi_atc", "gt_non_atc"):
        assert all(torch.equal(value, before[key]) for key, value in form.state().items())
    form.after_membership_change(lambda value: value.mean(0))
    if name.startswith("gt"):
        assert torch.equal(form.state()["tracked"], form.state()["direction"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"a": (0.5,)}, "coefficients of a must sum to 1"),
        ({"c": (0.0, 2.0)}, "coefficients of c must sum to 1"),
        ({"b_squared": (1.0, 0.0)}, "coefficients of b_squared must sum to 0"),
    ],
)
def test_coefficients_that_would_move_the_mean_are_refused(change: dict[str, Any], words: str) -> None:
    good: dict[str, Any] = {"a": (1.0,), "b_squared": (1.0, -1.0), "c": (0.0, 1.0)}
    with pytest.raises(ValueError, match=words):
        Strategy("wrong", **{**good, **change})


def test_a_triple_of_ones_own_that_is_unstable_is_refused() -> None:
    strategy = Strategy("too strong", a=(1.0,), b_squared=(4.0, -4.0), c=(0.0, 1.0))
    with pytest.raises(GraftworkError, match=r"however small the step"):
        strategy.validate(LAZY_RING)
