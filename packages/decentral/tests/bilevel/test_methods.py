"""Every bilevel method, by what all of them promise.

Reached from here: ``bilevel/ma_dsbo.py``, ``bilevel/mdbo.py``.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from graftwork import GraftworkError
from graftwork_decentral.bilevel import methods
from graftwork_decentral.bilevel.problem import BilevelMethod, BilevelSettings
from graftwork_decentral.bilevel.quadratic import Quadratic
from graftwork_decentral.communication import StackedCommunicator
from graftwork_decentral.topology import full, ring

SETTINGS = BilevelSettings(alpha=0.08, beta=0.2, gamma=0.2, theta=0.3)
BUILDERS = (
    methods.sparkle,
    methods.d_soba,
    methods.sldbo,
    methods.centralized,
    methods.ma_dsbo_gt,
    methods.mdbo,
)


SMALL = BilevelSettings(alpha=0.02, beta=0.05, gamma=0.5, theta=0.3)


def built(build, problem: Quadratic, settings: BilevelSettings = SETTINGS, **options) -> BilevelMethod:  # type: ignore[no-untyped-def]
    x, y = torch.zeros(5, dtype=torch.float64), torch.zeros(8, dtype=torch.float64)
    communicator = StackedCommunicator(ring(problem.agents, lazy=True))
    method: BilevelMethod = build(problem, communicator, settings, x, y, **options)
    return method


def error_after(method: BilevelMethod, problem: Quadratic, steps: int) -> float:
    for _ in range(steps):
        method.step(problem.data())
    return problem.error(method.upper)


@pytest.mark.parametrize(
    ("build", "name"),
    [(methods.sparkle, "SPARKLE-ED"), (methods.centralized, "centralized")],
)
def test_methods_that_correct_heterogeneity_solve_problem_q(problem: Quadratic, build, name: str) -> None:  # type: ignore[no-untyped-def]
    method = built(build, problem)
    assert method.name == name
    assert error_after(method, problem, 600) < 1e-18


@pytest.mark.parametrize("build", [methods.d_soba, methods.ma_dsbo_gt, methods.mdbo])
def test_methods_that_do_not_stall_beside_it(problem: Quadratic, build) -> None:  # type: ignore[no-untyped-def]
    assert 1e-4 < error_after(built(build, problem), problem, 300) < 20


def test_sldbo_solves_problem_q_with_small_steps(problem: Quadratic) -> None:
    assert error_after(built(methods.sldbo, problem, replace(SMALL, gamma=0.05)), problem, 1500) < 1e-17


def test_the_neumann_series_is_right_where_second_derivatives_are_equal() -> None:
    equal = Quadratic()
    for name in ("curvature", "coupling"):
        equal._data[name] = equal._data[name].mean(0).expand(10, -1, -1).clone()
    assert error_after(built(methods.mdbo, equal, SMALL, terms=30), equal, 800) < 1e-7


def test_more_inner_rounds_bring_ma_dsbo_closer(problem: Quadratic) -> None:
    few, many = (
        error_after(built(methods.ma_dsbo_gt, problem, lower_rounds=n, auxiliary_rounds=n), problem, 200)
        for n in (2, 12)
    )
    assert many < few


@pytest.mark.parametrize("build", BUILDERS)
def test_a_restored_run_of_any_method_is_bitwise_the_uninterrupted_one(problem: Quadratic, build) -> None:  # type: ignore[no-untyped-def]
    whole, first, second = (built(build, problem) for _ in range(3))
    error_after(whole, problem, 9)
    error_after(first, problem, 4)
    second.load_state_dict(first.state_dict())
    error_after(second, problem, 5)
    assert torch.equal(whole.upper, second.upper)
    assert torch.equal(whole.lower, second.lower)


@pytest.mark.parametrize("build", BUILDERS)
def test_evaluations_are_what_is_computed(problem: Quadratic, build) -> None:  # type: ignore[no-untyped-def]
    class Counting(Quadratic):
        calls = 0

        def lower_gradient(self, *given):  # type: ignore[no-untyped-def]
            Counting.calls += 1
            return super().lower_gradient(*given)

        def hessian_vector(self, *given):  # type: ignore[no-untyped-def]
            Counting.calls += 1
            return super().hessian_vector(*given)

        def cross_vector(self, *given):  # type: ignore[no-untyped-def]
            Counting.calls += 1
            return super().cross_vector(*given)

    method = built(build, Counting())
    method.step(problem.data())
    assert Counting.calls == method.evaluations_per_step - 2  # type: ignore[attr-defined]


def test_an_unknown_strategy_is_refused_by_name(problem: Quadratic) -> None:
    with pytest.raises(GraftworkError, match="did you mean 'exact-diffusion'"):
        built(methods.sparkle, problem, lower="exact-difusion")


def test_graphs_of_other_agents_are_refused() -> None:
    with pytest.raises(GraftworkError, match="'full' has 4 agents and 'ring' has 10"):
        StackedCommunicator(ring(10)).on(full(4))
