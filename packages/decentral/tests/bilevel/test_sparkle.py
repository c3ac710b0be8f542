"""SPARKLE's variants: special cases, equations, and convergence.

Reached from here: ``bilevel/level.py``, ``bilevel/levelled.py``.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from graftwork import GraftworkError
from graftwork_decentral.bilevel.quadratic import Quadratic
from graftwork_decentral.bilevel.sparkle import Sparkle, printed_name
from graftwork_decentral.communication import StackedCommunicator
from graftwork_decentral.strategies import Strategy, exact_diffusion, extra, gt_atc, gt_semi_atc
from graftwork_decentral.topology import full, ring, star

Make = Callable[..., Sparkle]
EXACT = ("ed", "extra", "gt-semi", "gt-atc", "gt-non")


@pytest.mark.parametrize(
    "names",
    [
        *((name,) * 3 for name in EXACT),
        ("ed", "ed", "gt-semi"),
        ("extra", "extra", "gt-atc"),
        ("gt-non", "extra", "ed"),
    ],
)
def test_exact_variants_and_mixtures_reach_the_solution_of_problem_q(
    problem: Quadratic, solve: Make, names: tuple[str, ...]
) -> None:
    assert problem.error(solve(*names).upper) <= 1e-18


def test_without_correction_it_stalls_further_off_with_larger_steps(problem: Quadratic, solve: Make) -> None:
    small, larger = (problem.error(solve("diffusion", steps=1200, times=times).upper) for times in (1, 4))
    assert 1e-2 < small < larger
    again = problem.error(solve("diffusion", steps=1600).upper)
    assert again == pytest.approx(small, rel=1e-3)


def test_correction_must_be_on_at_all_three_levels(problem: Quadratic, solve: Make) -> None:
    wanted = problem.lower_solution(problem.upper_solution)
    errors = {}
    for level in range(3):
        names = ["ed"] * 3
        names[level] = "diffusion"
        method = solve(*names, times=2, steps=500)
        errors[level] = (problem.error(method.upper), float((method.lower - wanted).square().sum()))
    (x_without_y, y_without_y), (x_without_z, _), (x_without_x, _) = (errors[level] for level in range(3))
    assert 1e-5 < x_without_y < 0.1 * min(x_without_z, x_without_x)
    assert min(x_without_z, x_without_x) > 1e-2
    assert y_without_y > 0.1


@pytest.mark.parametrize("graph", [ring, star])
def test_sparse_graphs_and_large_steps_favour_exact_diffusion(
    problem: Quadratic, solve: Make, graph: Callable[..., Any]
) -> None:
    options = {"times": 8, "steps": 800, "graphs": graph(10, lazy=True)}
    errors = {name: problem.error(solve(name, **options).upper) for name in ("ed", "gt-semi", "diffusion")}
    assert errors["ed"] < 1e-15
    assert errors["ed"] < 1e-6 * errors["gt-semi"]
    assert errors["gt-semi"] < 0.1 * errors["diffusion"]


def test_steps_twelve_times_larger_are_too_much_for_extra_alone(problem: Quadratic, solve: Make) -> None:
    assert problem.error(solve("ed", times=12, steps=400).upper) < 1e-6
    diverged = problem.error(solve("extra", times=12, steps=400).upper)
    assert not diverged < 1e3


def test_float32_does_not_drift_in_20_000_steps(solve: Make) -> None:
    problem = Quadratic(dtype=torch.float32)
    method = solve(
        "ed",
        "extra",
        "gt-semi",
        times=4,
        steps=20_000,
        problem=problem,
        dtype=torch.float32,
        share_batch=True,
    )
    assert problem.error(method.upper) <= 1e-8


@pytest.mark.parametrize("name", EXACT)
def test_the_triple_equals_the_fast_form_inside_sparkle_under_a_decaying_step(
    problem: Quadratic, make: Make, name: str
) -> None:
    steps = {
        level: (lambda step, size=size: size / (1 + step / 50) ** 0.5)
        for level, size in (("alpha", 0.05), ("beta", 0.1), ("gamma", 0.1))
    }
    fast = make(name, **steps)
    triple = make(name, **steps)
    for level in triple.levels.values():
        as_it_stands = replace(level.strategy, form=None)
        level.form = as_it_stands.start(level.point)
    for _ in range(150):
        fast.step(problem.data())
        triple.step(problem.data())
    scale = fast.upper.abs().max()
    assert (fast.upper - triple.upper).abs().max() < 1e-12 * scale
    assert (fast.lower - triple.lower).abs().max() < 1e-12 * fast.lower.abs().max()


def test_raw_tracking_differs_under_a_decaying_step_and_only_then(problem: Quadratic, solve: Make) -> None:
    scaled, raw = (solve("gt-semi", steps=50, track=track) for track in ("scaled", "raw"))
    torch.testing.assert_close(scaled.upper, raw.upper, rtol=1e-10, atol=1e-12)

    def decaying(step: int) -> float:
        return 0.05 / (1 + step / 10)

    scaled, raw = (solve("gt-semi", steps=50, track=track, beta=decaying) for track in ("scaled", "raw"))
    assert (scaled.lower - raw.lower).abs().max() > 1e-4


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("order", ["gauss_seidel", "jacobi"])
def test_invariants_hold_at_every_step(problem: Quadratic, make: Make, name: str, order: str) -> None:
    """The mean correction is 0, the mean tracker the mean direction, and the mean follows it."""
    method = make(name, order=order)
    upper = method.levels["upper"]
    for _ in range(30):
        before = method.upper.mean(0)
        method.step(problem.data())
        moved = before - 0.02 * method.hypergradient.mean(0)
        torch.testing.assert_close(method.upper.mean(0), moved, rtol=0, atol=1e-13)
        state = upper.form.state()
        if "correction" in state:
            assert state["correction"].mean(0).abs().max() < 1e-14
        else:
            wanted = 0.02 * method.hypergradient.mean(0)
            torch.testing.assert_close(state["tracked"].mean(0), wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize("names", [("ed", "ed", "gt-semi"), ("extra", "gt-atc", "diffusion")])
@pytest.mark.parametrize("order", ["gauss_seidel", "jacobi"])
def test_a_restored_run_is_bitwise_the_uninterrupted_one(
    problem: Quadratic, make: Make, solve: Make, names: tuple[str, ...], order: str
) -> None:
    options = {"order": order, "alpha": lambda step: 0.02 / (1 + step)}
    whole = solve(*names, steps=30, **options)
    file = io.BytesIO()
    torch.save(solve(*names, steps=17, **options).state_dict(), file)
    file.seek(0)
    resumed = make(*names, **options)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for _ in range(13):
        resumed.step(problem.data())
    assert torch.equal(whole.upper, resumed.upper)
    assert torch.equal(whole.lower, resumed.lower)
    assert torch.equal(whole.auxiliary, resumed.auxiliary)


def test_a_state_of_another_strategy_or_graph_is_refused(make: Make, solve: Make) -> None:
    state = solve("ed", steps=1).state_dict()
    with pytest.raises(GraftworkError, match="strategy 'exact-diffusion' and this run has 'extra'"):
        make("extra").load_state_dict(state)
    with pytest.raises(GraftworkError, match="graph"):
        make("ed", graphs=star(10, lazy=True)).load_state_dict(state)


def test_diffusion_on_the_mean_is_the_centralized_method(problem: Quadratic, solve: Make) -> None:
    everywhere = solve("diffusion", steps=300, graphs=full(10))
    data = problem.mean
    alone = Quadratic(agents=1)
    alone._data = {name: value[None] for name, value in data.items()}
    single = solve("diffusion", steps=300, problem=alone, graphs=full(1))
    torch.testing.assert_close(everywhere.upper, single.upper.expand(10, -1), rtol=1e-12, atol=1e-12)
    assert problem.error(solve("diffusion", graphs=full(10), times=4, steps=600).upper) < 1e-18


def test_both_orders_have_one_fixed_point(problem: Quadratic, solve: Make) -> None:
    jacobi = solve("ed", "ed", "gt-semi", order="jacobi", times=4, steps=900)
    assert problem.error(jacobi.upper) <= 1e-18


@pytest.mark.parametrize(("names", "rounds"), [(("ed", "extra", "gt-semi"), 1), (("gt-atc", "ed", "ed"), 2)])
def test_jacobi_order_sends_one_message_a_step(
    make: Make, problem: Quadratic, names: Any, rounds: int
) -> None:
    method = make(*names, order="jacobi")
    traffic = method.levels["lower"].communicator.traffic
    method.step(problem.data())
    assert traffic.rounds == rounds
    apart = make(*names, order="jacobi")
    together = apart.levels["upper"].communicator
    apart.levels["upper"].communicator = StackedCommunicator(together.graphs)
    apart.step(problem.data())
    torch.testing.assert_close(apart.upper, method.upper, rtol=0, atol=0)


def test_levels_may_have_graphs_of_their_own(problem: Quadratic, solve: Make) -> None:
    method = solve("ed", lower_graph=full(10), upper_graph=star(10, lazy=True), times=4, steps=800)
    names = [level.communicator.graphs.name for level in method.levels.values()]
    assert names == ["full", "full", "lazy star"]
    assert problem.error(method.upper) <= 1e-18


def test_weights_are_made_lazy_where_a_strategy_would_diverge(problem: Quadratic, make: Make) -> None:
    method = make("ed", "ed", "gt-semi", graphs=ring(10))
    assert [level.communicator.graphs.name for level in method.levels.values()] == [
        "lazy ring",
        "lazy ring",
        "ring",
    ]
    with pytest.raises(GraftworkError, match="diverges"):
        make("ed", graphs=ring(10), lazy="never")


@pytest.mark.parametrize(
    ("strategies", "name"),
    [
        ((exact_diffusion(), exact_diffusion(), exact_diffusion()), "SPARKLE-ED"),
        ((extra(), extra(), gt_atc()), "SPARKLE-EXTRA-GT"),
        ((gt_semi_atc(), gt_semi_atc(), gt_semi_atc()), "SPARKLE-GT"),
        ((extra(), exact_diffusion(), extra()), "SPARKLE-EXTRA-ED-EXTRA"),
    ],
)
def test_name_says_lower_and_auxiliary_first_then_upper(strategies: tuple[Strategy, ...], name: str) -> None:
    assert printed_name(*strategies) == name


def test_projection_is_for_strategies_that_keep_nothing_of_the_point(problem: Quadratic, make: Make) -> None:
    with pytest.raises(ValueError, match="projection would break"):
        make("ed", auxiliary_radius=1.0)
    method = make("gt-semi", auxiliary_radius=0.01)
    for _ in range(20):
        method.step(problem.data())
    assert method.auxiliary.norm(dim=1).max() <= 0.01 + 1e-12


@pytest.mark.parametrize(("option", "value"), [("alpha", 0.0), ("theta", 1.5), ("order", "sideways")])
def test_options_out_of_range_are_refused(make: Make, option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{option} must be"):
        make("ed", **{option: value})
