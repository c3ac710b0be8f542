"""Ways of mixing: equal to each other and to the formula, and without drift in float32.

Reached from here: ``communication/paths/blocks.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from graftwork_decentral.communication.paths import cost_model, dense, gathered, rowwise
from graftwork_decentral.communication.paths.choice import mixed_by
from graftwork_decentral.communication.paths.plan import MixPlan
from graftwork_decentral.kernels import workspace

FLOAT, DOUBLE, BRAIN, HALF = torch.float32, torch.float64, torch.bfloat16, torch.float16
GRAPHS = ("ring", "torus", "exponential", "star", "full", "patchy")
Mix = Callable[[Tensor, MixPlan], Tensor]
PATHS: dict[str, Mix] = {
    **{"gathered": gathered.mix, "rowwise": rowwise.mix, "centred": dense.mix},
    "plain": partial(dense.mix, centred=False),
}


def neighbours_of(kind: str, agents: int) -> list[set[int]]:
    edges = []
    for agent in range(agents):
        row, column = divmod(agent, 4)
        around = {
            "ring": {agent - 1, agent + 1},
            "torus": {agent - 4, agent + 4, 4 * row + (column - 1) % 4, 4 * row + (column + 1) % 4},
            "exponential": {agent + 2**power for power in range((agents - 1).bit_length())},
            "star": set(range(agents)) if agent == 0 else {0},
            "full": set(range(agents)),
            # Agents of degree 0, 1 and 2, nowhere in order.
            "patchy": {2: {5, 6}, 5: {2}, 6: {2}}.get(agent, set()),
        }[kind]
        edges.append({other % agents for other in around} - {agent})
    return edges


def mixing_matrix(kind: str, agents: int, *, dyadic: bool = False) -> Tensor:
    """Return equal weights of 1 over one more than the largest degree, rounded to 2**-12 if dyadic."""
    edges = neighbours_of(kind, agents)
    weight = 1 / (1 + max(map(len, edges)))
    weight = round(weight * 2**12) / 2**12 if dyadic else weight
    matrix = torch.zeros(agents, agents, dtype=DOUBLE)
    for agent, others in enumerate(edges):
        matrix[agent, sorted(others)] = weight
    return matrix + torch.diag(1 - matrix.sum(1))


def plan_of(matrix: Tensor, own: Sequence[int] | None = None, known: Sequence[int] | None = None) -> MixPlan:
    """Return the plan of some agents that know others, in this order; of all by default."""
    agents = range(len(matrix))
    own, known = list(own or agents), list(known or agents)
    position = {agent: place for place, agent in enumerate(known)}
    near = [[other for other in agents if other != agent and matrix[agent, other] != 0] for agent in own]
    rows = torch.tensor([position[agent] for agent in own])
    neighbours = rows[:, None].repeat(1, max(map(len, near)))
    weights = torch.zeros(neighbours.shape, dtype=DOUBLE)
    for row, others in enumerate(near):
        for place, other in enumerate(others):
            neighbours[row, place] = position[other]
            weights[row, place] = matrix[own[row], other]
    return MixPlan(rows, neighbours, weights, matrix[own][:, known])


def by_hand(known: Tensor, plan: MixPlan) -> Tensor:
    """The formula, element by element of rows, every operation rounded by itself."""
    rows = []
    for row, own in enumerate(plan.rows.tolist()):
        mixed = known[own].clone()
        for neighbour, weight in zip(plan.neighbours[row].tolist(), plan.weights[row], strict=True):
            if neighbour != own:
                mixed = mixed + (known[neighbour] - known[own]) * weight.to(known.dtype)
        rows.append(mixed)
    return torch.stack(rows)


@pytest.mark.parametrize("kind", GRAPHS)
@pytest.mark.parametrize("dtype", [FLOAT, DOUBLE], ids=str)
def test_every_path_is_the_formula(kind: str, dtype: torch.dtype) -> None:
    matrix = mixing_matrix(kind, 16)
    plan, known = plan_of(matrix), torch.randn(16, 301, dtype=dtype)
    exact = (matrix @ known.double()).to(dtype)
    assert torch.equal(gathered.mix(known, plan), by_hand(known, plan))
    assert torch.equal(rowwise.mix(known, plan), by_hand(known, plan))
    for mix in PATHS.values():
        tolerance = 1e-14 if dtype == DOUBLE else 2e-6
        torch.testing.assert_close(mix(known, plan), exact, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", GRAPHS)
@pytest.mark.parametrize("dtype", [FLOAT, BRAIN], ids=str)
@pytest.mark.parametrize("width", [None, 64])
def test_differences_have_the_same_bits_whatever_the_layout(
    kind: str, dtype: torch.dtype, width: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All agents at once, or some of them among rows in another order, in blocks of any width."""
    matrix, every = mixing_matrix(kind, 16), torch.randn(16, 1000).to(dtype)
    expected = gathered.mix(every, plan_of(matrix))
    if width is not None:
        monkeypatch.setattr(workspace, "_CPU_ELEMENTS", 1)
        monkeypatch.setattr(rowwise, "row_width", lambda known: width)
    for own in ([2, 3, 4, 5, 6], [7, 2, 11]):
        others = [agent for agent in reversed(range(16)) if agent not in own]
        for order in (own + others, others + own):
            plan, known = plan_of(matrix, own, order), every[order]
            for mix in (gathered.mix, rowwise.mix):
                assert torch.equal(mix(known, plan), expected[own])
            for name in ("centred", "plain"):
                tolerance = 2e-6 if dtype == FLOAT else 2**-7
                torch.testing.assert_close(
                    PATHS[name](known, plan), expected[own], rtol=tolerance, atol=tolerance
                )


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("dtype", [BRAIN, HALF], ids=str)
def test_half_precision_is_rounded_once(name: str, dtype: torch.dtype) -> None:
    """And so lies within half a step of the exact result."""
    matrix, known = mixing_matrix("torus", 16), torch.randn(16, 5000).to(dtype)
    mixed, exact = PATHS[name](known, plan_of(matrix)), matrix @ known.double()
    assert mixed.dtype == dtype
    half_step = torch.finfo(dtype).eps / 2
    assert bool(((mixed.double() - exact).abs() <= half_step * exact.abs() * (1 + 1e-3) + 1e-6).all())


def squared_error_of_exact_diffusion(mix: Mix, plan: MixPlan, steps: int) -> float:
    """Minimize the sum of ten parabolas in float32 by exact diffusion; return the error of all agents."""
    generator = torch.Generator().manual_seed(3)
    curvature = 1 + torch.rand(10, 5, dtype=DOUBLE, generator=generator)
    optimum = torch.randn(10, 5, dtype=DOUBLE, generator=generator) + 1
    common = (curvature * optimum).sum(0) / curvature.sum(0)
    curvature, optimum = curvature.float(), optimum.float()
    values, correction = torch.zeros(10, 5), torch.zeros(10, 5)
    for _ in range(steps):
        local = values - 0.05 * (curvature * (values - optimum)) - correction
        values = mix(local, plan)
        correction += local - values
    return float((values.double() - common).square().sum())


@pytest.mark.parametrize(
    ("name", "dyadic"),
    [("gathered", False), ("rowwise", False), ("centred", False), ("centred", True)],
)
def test_20_000_steps_of_exact_diffusion_do_not_drift(name: str, dyadic: bool) -> None:
    plan = plan_of(mixing_matrix("ring", 10, dyadic=dyadic))
    assert squared_error_of_exact_diffusion(PATHS[name], plan, 20_000) <= 1e-8


def test_a_plain_product_of_dyadic_weights_has_a_floor_but_does_not_drift() -> None:
    plan = plan_of(mixing_matrix("ring", 10, dyadic=True))
    early, late = (squared_error_of_exact_diffusion(PATHS["plain"], plan, steps) for steps in (2_000, 20_000))
    assert late <= 1.5 * early
    assert late <= 1e-7


def test_a_plain_product_of_other_weights_does_drift() -> None:
    """Which is why it needs dyadic ones."""
    plan = plan_of(mixing_matrix("ring", 10))
    assert squared_error_of_exact_diffusion(PATHS["plain"], plan, 5_000) > 1e-6


@pytest.mark.parametrize("name", PATHS)
def test_out_is_written_and_nothing_else(name: str) -> None:
    plan, known = plan_of(mixing_matrix("torus", 16)), torch.randn(16, 77)
    before, whole = known.clone(), torch.full((16, 80), torch.nan)
    mix: Any = PATHS[name]
    mixed = mix(known, plan, whole[:, :77])
    assert mixed.data_ptr() == whole.data_ptr()
    assert torch.equal(mixed, PATHS[name](known, plan))
    assert torch.equal(known, before)
    assert whole[:, 77:].isnan().all()


@pytest.mark.parametrize("name", PATHS)
def test_nothing_to_mix(name: str) -> None:
    assert PATHS[name](torch.empty(4, 0), plan_of(torch.eye(4))).shape == (4, 0)
    known = torch.randn(4, 9)
    assert torch.equal(PATHS[name](known, plan_of(torch.eye(4))), known)


@pytest.mark.parametrize("name", ["centred", "plain"])
def test_products_are_exact_to_float32_under_autocast_and_coarse_switches(name: str) -> None:
    plan, known = plan_of(mixing_matrix("full", 16)), torch.randn(16, 300)
    expected = PATHS[name](known, plan)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            found = PATHS[name](known, plan)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert found.dtype == FLOAT
    assert torch.equal(found, expected)


@pytest.mark.parametrize("path", ["auto", "differences", "gathered", "rowwise", "dense", "plain"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_any_shape_is_mixed_by_any_name(path: str, shape: tuple[int, ...]) -> None:
    matrix, known = mixing_matrix("ring", 8, dyadic=True), torch.randn(8, *shape)
    expected = torch.tensordot(matrix.float(), known, dims=1)
    mixed = mixed_by(path, known, plan_of(matrix), dyadic=True)
    assert mixed.shape == known.shape
    torch.testing.assert_close(mixed, expected, rtol=1e-6, atol=1e-6)
    out = torch.empty_like(known)
    assert torch.equal(mixed_by(path, known, plan_of(matrix), dyadic=True, out=out), out)
    torch.testing.assert_close(out, expected, rtol=1e-6, atol=1e-6)


def test_differences_never_take_a_product() -> None:
    plan = plan_of(mixing_matrix("full", 32))
    for parameters in (10, 1000):
        assert cost_model.cheapest(plan, parameters, FLOAT, among=cost_model.DIFFERENCES) in (
            "gathered",
            "rowwise",
        )
    known = torch.randn(32, 1000)
    assert torch.equal(mixed_by("differences", known, plan, dyadic=False), gathered.mix(known, plan))


def test_what_does_not_fit_is_refused() -> None:
    plan, half = plan_of(mixing_matrix("ring", 8)), torch.full((2, 1), 0.5, dtype=DOUBLE)
    with pytest.raises(ValueError, match="known must be a floating matrix of 8 rows, got shape \\(7, 3\\)"):
        gathered.mix(torch.zeros(7, 3), plan)
    with pytest.raises(ValueError, match=r"known must be a floating matrix .* torch\.int64"):
        rowwise.mix(torch.zeros(8, 3, dtype=torch.int64), plan)
    with pytest.raises(ValueError, match=r"out must be \(8, 3\) of torch\.float32, got \(8, 4\)"):
        dense.mix(torch.zeros(8, 3), plan, torch.zeros(8, 4))
    with pytest.raises(ValueError, match=r"path must be one of auto, differences, .*, got 'fast'"):
        mixed_by("fast", torch.zeros(8, 3), plan)
    with pytest.raises(ValueError, match="path plain needs dyadic weights"):
        mixed_by("plain", torch.zeros(8, 3), plan)
    with pytest.raises(ValueError, match="neighbours must be \\[3, degree\\]"):
        MixPlan(torch.arange(3), torch.tensor([[1], [0]]), half, half)
    with pytest.raises(ValueError, match="weights must be \\(2, 1\\)"):
        MixPlan(torch.arange(2), torch.tensor([[1], [0]]), half[:1], half)
    with pytest.raises(ValueError, match="dense must be \\[2, known\\]"):
        MixPlan(torch.arange(2), torch.tensor([[1], [0]]), half, half[:1])
