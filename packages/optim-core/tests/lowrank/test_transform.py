"""Low-rank transforms in an optimizer: which side, when a basis is taken, and what becomes of the moments."""

from __future__ import annotations

import copy
import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graftwork_optim_core import SubspaceOptimizer, param_groups
from graftwork_optim_core.common.sharding import Rows
from graftwork_optim_core.lowrank import methods
from graftwork_optim_core.lowrank.bases import BasisResult, basis_of
from graftwork_optim_core.lowrank.methods import GoLoreTransform, SVDTransform
from graftwork_optim_core.lowrank.random_basis import random_basis
from graftwork_optim_core.lowrank.sides import Projection, bases_of
from graftwork_optim_core.subspace.site import Site

SIDES = ("std", "reverse_std", "left", "right", "full")
BETAS, EPS = (0.9, 0.999), 1e-6
GOLORE_LATE = {"random_last": 0.5, "total_steps": 12}


def optimizer_of(
    parameters: Any,
    transform: str = "svd",
    host: str = "adamw",
    lr: float = 0.1,
    scale: float = 1.0,
    host_options: dict[str, Any] | None = None,
    state_dtype: Any = "param",
    foreach: bool | None = None,
    **transform_options: Any,
) -> SubspaceOptimizer:
    return SubspaceOptimizer(
        parameters,
        lr,
        host=host,
        transform=transform,
        host_options=host_options,
        transform_options={"rank": 3, "refresh_every": 4, **transform_options},
        scale=scale,
        state_dtype=state_dtype,
        foreach=foreach,
    )


def parameter_of(*shape: int, dtype: torch.dtype = torch.float64) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape, dtype=dtype))


def gradients_of(count: int, *shape: int) -> list[Tensor]:
    return [torch.randn(shape, dtype=torch.float64) for _ in range(count)]


def step(optimizer: SubspaceOptimizer, *gradients: Tensor | None) -> None:
    """Make one step, a gradient a parameter."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = None if gradient is None else gradient.clone().to(parameter.dtype)
    optimizer.step()


def trajectory(
    start: Tensor, gradients: Sequence[Tensor], make: Callable[[list[nn.Parameter]], torch.optim.Optimizer]
) -> list[Tensor]:
    """Return the weight after every step."""
    parameter = nn.Parameter(start.clone())
    optimizer = make([parameter])
    values = []
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
        values.append(parameter.detach().clone())
    return values


def largest_difference(one: Sequence[Tensor], two: Sequence[Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(one, two, strict=True))


def bases(state: dict[str, Any]) -> list[Tensor]:
    return [state[key].clone() for key in ("basis_left", "basis_right") if key in state]


def back(state: dict[str, Any], coarse: Tensor) -> Tensor:
    """Return a coarse matrix in the weight's space, by the bases in the state."""
    if "basis_left" in state:
        coarse = state["basis_left"] @ coarse
    return coarse @ state["basis_right"].T if "basis_right" in state else coarse


def down(state: dict[str, Any], gradient: Tensor) -> Tensor:
    if "basis_left" in state:
        gradient = state["basis_left"].T @ gradient
    return gradient @ state["basis_right"] if "basis_right" in state else gradient


# Which axes a side projects, from the published rule and not from the code.
def expected_axes(side: str, shape: tuple[int, int]) -> set[str]:
    longer_is_rows = shape[0] >= shape[1]
    table = {"left": {"left"}, "right": {"right"}, "full": {"left", "right"}}
    table["std"] = {"right"} if longer_is_rows else {"left"}
    table["reverse_std"] = {"left"} if longer_is_rows else {"right"}
    return table[side]


@pytest.mark.parametrize(
    ("shape", "rank"), [((12, 5), 1), ((12, 5), 4), ((12, 5), 5), ((5, 12), 3), ((5, 12), 20), ((8, 8), 4)]
)
@pytest.mark.parametrize("side", SIDES)
def test_g7_every_side_and_rank_steps_by_the_formula(side: str, shape: tuple[int, int], rank: int) -> None:
    weight = parameter_of(*shape)
    optimizer = optimizer_of([weight], rank=rank, side=side, refresh_every=2, scale=0.25)
    state = optimizer.state[weight]
    axes = expected_axes(side, shape) if rank < min(shape) else set()
    assert {key for key in state if key.startswith("basis")} == {f"basis_{axis}" for axis in axes}
    coarse = (rank if "left" in axes else shape[0], rank if "right" in axes else shape[1])
    assert state["exp_avg"].shape == state["exp_avg_sq"].shape == coarse
    for count, gradient in enumerate(gradients_of(5, *shape), start=1):
        before = weight.detach().clone()
        old_mean, old_square = state["exp_avg"].clone(), state["exp_avg_sq"].clone()
        step(optimizer, gradient)
        for basis in bases(state):
            assert (basis.T @ basis - torch.eye(rank, dtype=torch.float64)).abs().max() < 1e-12
        projected = down(state, gradient)
        mean = BETAS[0] * old_mean + (1 - BETAS[0]) * projected
        square = BETAS[1] * old_square + (1 - BETAS[1]) * projected.square()
        correction = math.sqrt(1 - BETAS[1] ** count) / (1 - BETAS[0] ** count)
        expected = before - 0.1 * 0.25 * correction * back(state, mean / (square.sqrt() + EPS))
        torch.testing.assert_close(weight.detach(), expected, rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(state["exp_avg"], mean, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("side", SIDES)
def test_g7_a_projected_gradient_that_is_square_is_no_trap(side: str) -> None:
    """The side is the weight's own: 8 x 8 of a rank-8 projection says nothing of 16 x 9."""
    for shape, rank in (((16, 9), 8), ((9, 16), 8), ((64, 256), 63)):
        weight = parameter_of(*shape)
        optimizer = optimizer_of([weight], rank=rank, side=side, refresh_every=2)
        kept = {key: value.shape for key, value in optimizer.state[weight].items()}
        for gradient in gradients_of(3, *shape):
            step(optimizer, gradient)
        assert {key: value.shape for key, value in optimizer.state[weight].items()} == kept


@pytest.mark.parametrize(("transform", "host"), list(itertools.product(["svd", "random"], ["adamw", "msgd"])))
@pytest.mark.parametrize(("shape", "rank"), [((12, 5), 5), ((5, 12), 7), ((6, 6), 6)])
def test_g1_a_rank_of_the_smaller_dimension_is_the_host_itself(
    shape: tuple[int, int], rank: int, transform: str, host: str
) -> None:
    start, gradients = torch.randn(shape, dtype=torch.float64), gradients_of(9, *shape)
    ours = trajectory(
        start, gradients, lambda p: optimizer_of(p, transform, host, rank=rank, scale=0.3, refresh_every=2)
    )
    hosts = trajectory(
        start,
        gradients,
        lambda p: SubspaceOptimizer(p, 0.1, host=host, transform="identity", scale=0.3),
    )
    assert largest_difference(ours, hosts) == 0.0
    if host == "msgd":
        torchs = trajectory(start, gradients, lambda p: torch.optim.SGD(p, 0.03, momentum=0.9))
        assert largest_difference(ours, torchs) < 1e-12


@pytest.mark.parametrize("side", ["left", "right", "full"])
def test_g1_a_basis_of_all_that_moves_reproduces_momentum_sgd(side: str) -> None:
    """All gradients lie in one space of three dimensions; every basis spans it, in coordinates of its own."""
    columns, rows = random_basis(9, 3, (1, 0, 0), torch.float64), random_basis(7, 3, (2, 0, 0), torch.float64)
    gradients = [columns @ core @ rows.T for core in gradients_of(17, 3, 3)]
    start = torch.randn(9, 7, dtype=torch.float64)
    host = {"momentum": 0.9}
    torchs = trajectory(start, gradients, lambda p: torch.optim.SGD(p, 0.1, momentum=0.9))

    def ours(moments: str, host_name: str = "msgd") -> list[Tensor]:
        options = host if host_name == "msgd" else None
        return trajectory(
            start,
            gradients,
            lambda p: optimizer_of(p, "svd", host_name, host_options=options, side=side, moments=moments),
        )

    assert largest_difference(ours("project"), torchs) < 1e-11
    assert largest_difference(ours("keep"), torchs) > 1e-2
    # Adam divides coordinate by coordinate, so that rotated coordinates are another optimizer.
    adam = trajectory(start, gradients, lambda p: SubspaceOptimizer(p, 0.1, transform="identity"))
    assert largest_difference(ours("project", "adamw"), adam) > 1e-2


@pytest.mark.parametrize("side", ["left", "right", "full"])
def test_g4_momentum_is_the_same_in_another_basis_of_one_space(side: Any) -> None:
    columns, rows = random_basis(9, 3, (1, 0, 0), torch.float64), random_basis(7, 3, (2, 0, 0), torch.float64)
    transform = SVDTransform(rank=3, side=side, refresh_every=1, moments="project")
    state = {
        name: torch.zeros(slot.shape, dtype=slot.dtype or torch.float64)
        for name, slot in transform.slots((9, 7)).items()
    }
    site = Site((9, 7), Rows(torch.zeros(9, 7)), 0, state)

    def gradient() -> Tensor:
        return columns @ torch.randn(3, 3, dtype=torch.float64) @ rows.T

    assert transform.refresh(gradient, site) is None
    old = copy.deepcopy(state)
    change = transform.refresh(gradient, site)
    assert change is not None
    assert not any(torch.allclose(old[name], state[name], atol=1e-3) for name in bases_of(side, (9, 7)))
    momentum = torch.randn(transform.coarse_shape((9, 7)), dtype=torch.float64)
    before = Projection.of(old, site.rows).up(momentum)
    after = Projection.of(state, site.rows).up(change.carry(momentum))
    assert (before - after).abs().max() < 1e-6
    assert (before - Projection.of(state, site.rows).up(momentum)).abs().max() > 1e-2


@pytest.mark.parametrize("host", ["adamw", "msgd"])
@pytest.mark.parametrize(
    ("side", "moments", "align"),
    [("left", "project", True), ("right", "project", False), ("full", "keep", True)],
)
def test_g4_signs_of_a_basis_change_nothing(
    side: str, host: str, moments: str, align: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever signs a library gives its singular vectors: projected, or kept with the signs aligned."""
    start, gradients = torch.randn(9, 7, dtype=torch.float64), gradients_of(13, 9, 7)

    def make(parameters: list[nn.Parameter]) -> SubspaceOptimizer:
        return optimizer_of(parameters, "svd", host, side=side, moments=moments, align_signs=align)

    expected = trajectory(start, gradients, make)
    generator = torch.Generator().manual_seed(5)

    def with_other_signs(*arguments: Any, **options: Any) -> BasisResult:
        result = basis_of(*arguments, **options)
        assert result.basis is not None
        signs = torch.randint(0, 2, (result.basis.shape[1],), generator=generator) * 2 - 1
        return BasisResult(result.basis * signs, result.verdict)

    monkeypatch.setattr(methods, "basis_of", with_other_signs)
    assert largest_difference(trajectory(start, gradients, make), expected) < 1e-12
    monkeypatch.undo()
    kept = trajectory(
        start, gradients, lambda p: optimizer_of(p, "svd", host, side=side, align_signs=False, moments="keep")
    )
    monkeypatch.setattr(methods, "basis_of", with_other_signs)
    again = trajectory(
        start, gradients, lambda p: optimizer_of(p, "svd", host, side=side, align_signs=False, moments="keep")
    )
    assert largest_difference(kept, again) > 1e-3


@pytest.mark.parametrize("transform", ["svd", "random"])
@pytest.mark.parametrize("side", ["left", "right", "full"])
def test_g4_projected_momentum_persists_with_the_steps_gradient_in_it(side: str, transform: str) -> None:
    weight = parameter_of(9, 7)
    options = {"momentum": 0.9}
    optimizer = optimizer_of(
        [weight], transform, "msgd", host_options=options, side=side, refresh_every=2, moments="project"
    )
    state = optimizer.state[weight]
    momentum = torch.zeros(9, 7, dtype=torch.float64)
    for count, gradient in enumerate(gradients_of(9, 9, 7)):
        old, before = {key: value.clone() for key, value in state.items()}, weight.detach().clone()
        step(optimizer, gradient)
        # The projector on the new space, applied to the old momentum as a full matrix.
        momentum = down(state, back(old, old["momentum_buffer"])) if count else torch.zeros(()).double()
        momentum = 0.9 * momentum + down(state, gradient)
        torch.testing.assert_close(state["momentum_buffer"], momentum, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(
            weight.detach(), before - 0.1 * back(state, momentum), rtol=1e-12, atol=1e-12
        )
        changed = any(not torch.equal(a, b) for a, b in zip(bases(old), bases(state), strict=True))
        assert changed == (count % 2 == 0)


def test_g4_the_second_moment_is_kept_when_the_first_is_projected() -> None:
    weight = parameter_of(9, 7)
    optimizer = optimizer_of([weight], moments="project", refresh_every=1)
    state = optimizer.state[weight]
    step(optimizer, torch.randn(9, 7))
    square = state["exp_avg_sq"].clone()
    gradient = torch.randn(9, 7, dtype=torch.float64)
    step(optimizer, gradient)
    expected = BETAS[1] * square + (1 - BETAS[1]) * down(state, gradient).square()
    torch.testing.assert_close(state["exp_avg_sq"], expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("host", ["adamw", "msgd"])
def test_reset_moments_start_anew_with_the_new_basis(host: str) -> None:
    weight = parameter_of(9, 7)
    optimizer = optimizer_of([weight], host=host, moments="reset", refresh_every=3)
    for gradient in gradients_of(6, 9, 7):
        step(optimizer, gradient)
    start, last = weight.detach().clone(), torch.randn(9, 7, dtype=torch.float64)
    step(optimizer, last)
    fresh_weight = nn.Parameter(start)
    fresh = optimizer_of([fresh_weight], host=host)
    step(fresh, last)
    assert (fresh_weight - weight).abs().max() < 1e-12
    assert float(optimizer.state[weight]["step"]) == 1
    assert int(optimizer.state[weight]["calls"]) == 7


def refreshed_at(optimizer: SubspaceOptimizer, weight: nn.Parameter, steps: range) -> list[int]:
    """Return before which of the steps the basis changed, having checked that it was announced."""
    found = []
    for number in steps:
        old, due = bases(optimizer.state[weight]), optimizer.refresh_due()
        step(optimizer, torch.randn(9, 7))
        changed = any(not torch.equal(a, b) for a, b in zip(old, bases(optimizer.state[weight]), strict=True))
        assert changed == due
        found += [number] if changed else []
    return found


@pytest.mark.parametrize("transform", ["svd", "gram", "rsvd", "power", "random", "golore"])
def test_g6_a_basis_is_taken_at_0_t_2t_and_after_resuming(transform: str) -> None:
    options = GOLORE_LATE if transform == "golore" else {}
    weight = parameter_of(9, 7)
    optimizer = optimizer_of([weight], transform, **options)
    assert refreshed_at(optimizer, weight, range(14)) == [0, 4, 8, 12]
    saved = copy.deepcopy(optimizer.state_dict())
    resumed_weight = nn.Parameter(weight.detach().clone())
    resumed = optimizer_of([resumed_weight], transform, **options)
    resumed.load_state_dict(saved)
    assert refreshed_at(resumed, resumed_weight, range(14, 22)) == [16, 20]


def test_g6_a_weight_counts_its_own_gradients() -> None:
    always, seldom = parameter_of(9, 7), parameter_of(9, 7)
    optimizer = optimizer_of([always, seldom], refresh_every=2)
    taken: list[list[int]] = [[], []]
    for number in range(8):
        old = [bases(optimizer.state[p]) for p in (always, seldom)]
        step(optimizer, torch.randn(9, 7), torch.randn(9, 7) if number % 2 else None)
        for place, parameter in enumerate((always, seldom)):
            if not torch.equal(old[place][0], bases(optimizer.state[parameter])[0]):
                taken[place].append(number)
    assert taken == [[0, 2, 4, 6], [1, 5]]


def test_a_weight_that_never_gets_a_gradient_announces_no_refresh_for_ever() -> None:
    used, unused, whole = parameter_of(9, 7), parameter_of(9, 7), parameter_of(2, 7)
    optimizer = optimizer_of([used, unused, whole])
    due = []
    for _ in range(9):
        due.append(optimizer.refresh_due())
        step(optimizer, torch.randn(9, 7), None, torch.randn(2, 7))
    assert [number for number, one in enumerate(due) if one] == [0, 4, 8]
    assert not optimizer_of([parameter_of(2, 7)]).refresh_due()


def test_staggered_weights_share_the_refreshes_out() -> None:
    weights = [parameter_of(9, 7) for _ in range(10)]
    optimizer = optimizer_of(weights, refresh_every=5, stagger=True)
    taken: list[list[int]] = [[] for _ in weights]
    for number in range(21):
        old = [bases(optimizer.state[weight])[0] for weight in weights]
        due = optimizer.refresh_due()
        step(optimizer, *(torch.randn(9, 7) for _ in weights))
        changed = [
            place
            for place, weight in enumerate(weights)
            if not torch.equal(old[place], bases(optimizer.state[weight])[0])
        ]
        assert due == bool(changed)
        for place in changed:
            taken[place].append(number)
    for numbers in taken:
        assert numbers[0] == 0
        assert all(later - earlier == 5 for earlier, later in itertools.pairwise(numbers[1:]))
    later = [number for numbers in taken for number in numbers if number > 0]
    assert max(later.count(number) for number in set(later)) <= 3
    assert len({number % 5 for number in later}) == 5


class Frozen:
    """f(X) = ||A X||^2 / 2 of arXiv:2410.11289 without the linear term: noise is louder than the slope."""

    size, rank, free = 10, 4, 6

    def __init__(self) -> None:
        self.weight = nn.Parameter(torch.zeros(self.size, self.size, dtype=torch.float64))
        self.generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            self.weight[: self.free, : self.free] = 0.5 * torch.eye(self.free)

    def accumulate(self, draws: int) -> None:
        """Leave the mean of some stochastic gradients in ``.grad``."""
        signs = torch.randint(0, 2, (draws,), generator=self.generator) * 2 - 1
        gradient = torch.zeros_like(self.weight)
        gradient[: self.free] = self.weight[: self.free].detach()
        gradient[self.free :, self.free :] = torch.eye(self.rank) * signs.double().mean()
        self.weight.grad = gradient

    def value(self) -> float:
        return 0.5 * float(self.weight[: self.free].detach().square().sum())


def test_g5_galore_freezes_where_a_larger_batch_at_refreshes_and_random_bases_do_not() -> None:
    ends = {}
    for name, transform, large in (
        ("galore", "svd", 1),
        ("large batch", "svd", 64),
        ("golore", "random", 1),
    ):
        problem = Frozen()
        optimizer = optimizer_of(
            [problem.weight],
            transform,
            "msgd",
            lr=0.02,
            host_options={"momentum": 0.0},
            rank=4,
            side="left",
            refresh_every=10,
        )
        for _ in range(400):
            problem.accumulate(large if optimizer.refresh_due() else 1)
            optimizer.step()
        ends[name] = problem.value()
    assert ends["galore"] == pytest.approx(0.75, abs=1e-12)
    assert ends["large batch"] < 0.05
    assert ends["golore"] < 0.05


def is_leading(basis: Tensor, gradient: Tensor) -> bool:
    """Whether a left basis spans the leading singular directions."""
    left = torch.linalg.svd(gradient)[0][:, : basis.shape[1]]
    return float((left - basis @ (basis.T @ left)).abs().max()) < 1e-9


@pytest.mark.parametrize(
    ("last", "total", "every", "random_from"),
    [(0.25, 20, 5, 15), (0.25, 20, 6, 18), (0.2, 10, 1, 8), (1.0, None, 5, 0), (0.0, None, 5, 99)],
)
def test_golores_last_bases_are_random_and_which_is_decided_at_refreshes(
    last: float, total: int | None, every: int, random_from: int
) -> None:
    weight = parameter_of(6, 9)
    optimizer = optimizer_of(
        [weight], "golore", refresh_every=every, random_last=last, total_steps=total, seed=3
    )
    refreshes = 0
    for number in range(21):
        gradient = torch.randn(6, 9, dtype=torch.float64)
        step(optimizer, gradient)
        if number % every:
            continue
        (basis,) = bases(optimizer.state[weight])
        assert is_leading(basis, gradient) == (number < random_from)
        if number >= random_from:
            drawn = random_basis(6, 3, (3, 1, refreshes), torch.float64)
            assert (basis.abs() - drawn.abs()).abs().max() < 1e-12
        refreshes += 1


def test_the_published_fraction_of_a_long_run_is_met_exactly() -> None:
    for total, last, first in ((200_000, 0.2, 160_000), (10, 0.3, 7), (10, 0.7, 3), (7, 0.5, 4)):
        transform = GoLoreTransform(rank=2, random_last=last, total_steps=total)

        def method(calls: int, transform: GoLoreTransform = transform) -> str:
            site = Site((8, 8), Rows(torch.zeros(8, 8)), 0, {"calls": torch.tensor([[calls]])})
            return transform.method(site)

        assert (method(first - 1), method(first)) == ("svd", "random")


def test_g3_random_bases_differ_between_weights_sides_and_refreshes_and_follow_the_seed() -> None:
    def drawn(seed: int) -> list[Tensor]:
        weights = [parameter_of(8, 8), parameter_of(8, 8)]
        optimizer = optimizer_of(
            weights, "random", side="full", refresh_every=1, seed=seed, align_signs=False
        )
        taken = []
        for _ in range(2):
            step(optimizer, torch.randn(8, 8), torch.randn(8, 8))
            taken += [basis for weight in weights for basis in bases(optimizer.state[weight])]
        return taken

    first, again, other = drawn(0), drawn(0), drawn(1)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    for one, two in itertools.combinations([*first, *other], 2):
        assert not torch.allclose(one.abs(), two.abs(), atol=1e-3)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((40, 24), torch.float32),
        ((24, 40), torch.bfloat16),
        ((6, 4, 3, 2), torch.float32),
        ((3, 50), torch.bfloat16),
    ],
)
def test_g8_bytes_by_storage_are_the_formula(dtype: torch.dtype, shape: tuple[int, ...], side: str) -> None:
    rank, rows, width = 5, shape[0], math.prod(shape[1:])
    weight = nn.Parameter(torch.zeros(shape, dtype=dtype))
    optimizer = optimizer_of([weight], rank=rank, side=side, refresh_every=1)
    if rank >= min(rows, width):
        elements, scalars = 2 * rows * width, 4
    else:
        axes = expected_axes(side, (rows, width))
        elements = 2 * (rank if "left" in axes else rows) * (rank if "right" in axes else width)
        elements += rank * sum({"left": rows, "right": width}[axis] for axis in axes)
        # The step, float32, and the steps and bases so far, int64.
        scalars = 4 + 8 + 8
    expected = elements * dtype.itemsize + scalars
    assert optimizer.state_bytes().total == expected
    for _ in range(2):
        step(optimizer, torch.randn(shape))
    # A basis cut out of all singular vectors would keep them all alive.
    assert optimizer.state_bytes().total == expected


BAD = {
    "nan": lambda g: g.index_put((torch.tensor(4), torch.tensor(3)), torch.tensor(math.nan, dtype=g.dtype)),
    "inf": lambda g: g.index_put((torch.tensor(0), torch.tensor(6)), torch.tensor(math.inf, dtype=g.dtype)),
    "all nan": lambda g: torch.full_like(g, math.nan),
    "square overflows": lambda g: g * 1e30,
}


@pytest.mark.parametrize(("bad", "side"), list(zip(BAD, ["left", "right", "full", "left"], strict=True)))
@pytest.mark.parametrize("transform", ["svd", "gram", "rsvd", "power", "random", "golore"])
def test_g9_a_gradient_that_is_not_finite_moves_nothing_and_never_raises(
    side: str, transform: str, bad: str
) -> None:
    options = GOLORE_LATE if transform == "golore" else {}
    weight = parameter_of(9, 7, dtype=torch.float32)
    optimizer = optimizer_of([weight], transform, side=side, refresh_every=2, **options)
    state = optimizer.state[weight]
    skipped = 0
    for number in range(7):
        gradient = torch.randn(9, 7)
        # The first of all, one between refreshes, and one at a refresh.
        if number in (0, 3, 4):
            before, averages, count = weight.detach().clone(), state["exp_avg"].clone(), float(state["step"])
            old, had = bases(state), int(state["refreshes"])
            step(optimizer, BAD[bad](gradient))
            skipped += 1
            assert torch.equal(weight, before)
            assert torch.equal(state["exp_avg"], averages)
            assert float(state["step"]) == count
            if transform in ("svd", "gram", "rsvd", "power") and bad != "square overflows":
                assert all(torch.equal(a, b) for a, b in zip(old, bases(state), strict=True))
                assert int(state["refreshes"]) == had
        else:
            before = weight.detach().clone()
            step(optimizer, gradient)
            assert not torch.equal(weight, before)
        assert torch.isfinite(weight).all()
        assert optimizer.nonfinite_skips() == skipped
        assert int(state["calls"]) == number + 1
    for basis in bases(state):
        assert (basis.T @ basis - torch.eye(3)).abs().max() < 1e-5


@pytest.mark.parametrize("transform", ["svd", "gram", "rsvd", "power", "random"])
@pytest.mark.parametrize("side", ["left", "right", "full"])
def test_g9_a_gradient_of_zeros_takes_a_random_basis_if_there_is_none_and_keeps_any_other(
    side: str, transform: str
) -> None:
    weight = parameter_of(9, 7)
    optimizer = optimizer_of([weight], transform, side=side, refresh_every=2)
    before = weight.detach().clone()
    step(optimizer, torch.zeros(9, 7))
    state = optimizer.state[weight]
    first = bases(state)
    for basis in first:
        assert (basis.T @ basis - torch.eye(3, dtype=torch.float64)).abs().max() < 1e-12
    assert torch.equal(weight, before)
    step(optimizer, torch.randn(9, 7))
    assert not torch.equal(weight, before)
    step(optimizer, torch.zeros(9, 7))
    kept = all(torch.equal(a, b) for a, b in zip(first, bases(state), strict=True))
    assert kept == (transform != "random")
    assert optimizer.nonfinite_skips() == 0


@pytest.mark.parametrize("side", ["std", "full"])
def test_a_convolution_is_taken_as_the_matrix_of_its_outputs(side: str) -> None:
    start, gradients = torch.randn(6, 3, 3, 3), [torch.randn(6, 3, 3, 3) for _ in range(6)]
    as_convolution = trajectory(start, gradients, lambda p: optimizer_of(p, side=side))
    as_matrix = trajectory(
        start.flatten(1), [one.flatten(1) for one in gradients], lambda p: optimizer_of(p, side=side)
    )
    assert all(torch.equal(one.flatten(1), two) for one, two in zip(as_convolution, as_matrix, strict=True))
    # A basis is found for any layout of the same numbers.
    channels_last = trajectory(
        start.contiguous(memory_format=torch.channels_last),
        [one.contiguous(memory_format=torch.channels_last) for one in gradients],
        lambda p: optimizer_of(p, side=side),
    )
    assert largest_difference(channels_last, as_convolution) < 1e-4


def test_vectors_make_the_plain_step_and_warn_once() -> None:
    model = nn.Sequential(nn.Linear(7, 9), nn.LayerNorm(9), nn.Linear(9, 9)).double()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optimizer = optimizer_of(model.named_parameters(), foreach=False, scale=0.5)
    (warning,) = caught
    assert "4 parameters of fewer than two dimensions ('0.bias' first)" in str(warning.message)
    bias = nn.Parameter(model[0].bias.detach().clone())
    plain = SubspaceOptimizer([bias], 0.1, transform="identity", plain=True, foreach=False)
    for number in range(3):
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        bias.grad = model[0].bias.grad.clone()
        optimizer.step()
        plain.step()
        assert torch.equal(bias, model[0].bias), number
    assert sorted(optimizer.state[model[0].bias]) == ["exp_avg", "exp_avg_sq", "step"]


def test_selected_groups_warn_of_nothing() -> None:
    model = nn.ModuleDict({"mlp": nn.Linear(7, 9), "norm": nn.LayerNorm(9)})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optimizer_of(param_groups(model))
    assert caught == []


def test_bfloat16_weights_with_a_float32_state_are_rounded_once() -> None:
    start = torch.randn(9, 7, dtype=torch.bfloat16)
    weight = nn.Parameter(start.clone())
    optimizer = optimizer_of([weight], lr=0.05, state_dtype="float32", refresh_every=3)
    state = optimizer.state[weight]
    assert {state[key].dtype for key in ("exp_avg", "exp_avg_sq", "basis_right")} == {torch.float32}
    wide = nn.Parameter(start.float())
    exact = optimizer_of([wide], lr=0.05, refresh_every=3)
    for gradient in (torch.randn(9, 7).bfloat16() for _ in range(7)):
        with torch.no_grad():
            wide.copy_(weight)
        step(optimizer, gradient)
        step(exact, gradient.float())
        # A float32 difference in the update may turn a rounding over: one step of bfloat16, no more.
        assert (weight.float() - wide).abs().max() <= 2.0**-8 * wide.abs().max()
        assert torch.equal(state["exp_avg"], exact.state[wide]["exp_avg"])
        assert torch.equal(state["basis_right"], exact.state[wide]["basis_right"])
    basis = state["basis_right"]
    assert (basis.T @ basis - torch.eye(3)).abs().max() < 1e-5


def test_maximize_projects_and_steps_the_other_way() -> None:
    start, gradients = torch.randn(9, 7, dtype=torch.float64), gradients_of(6, 9, 7)
    descents = trajectory(start, gradients, lambda p: optimizer_of(p, moments="project"))

    def climbing(parameters: list[nn.Parameter]) -> SubspaceOptimizer:
        return SubspaceOptimizer(
            parameters,
            0.1,
            transform="svd",
            transform_options={"rank": 3, "refresh_every": 4, "moments": "project"},
            maximize=True,
        )

    climbs = trajectory(start, [-one for one in gradients], climbing)
    assert largest_difference(descents, climbs) < 1e-12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "rank must be a whole number, 1 or more, got 0"),
        ({"rank": 2.0}, "rank must be a whole number, 1 or more, got 2.0"),
        ({"side": "up"}, "side must be 'std', 'reverse_std', 'left', 'right' or 'full', got 'up'"),
        ({"refresh_every": 0}, "refresh_every must be a whole number, 1 or more, got 0"),
        ({"moments": "drop"}, "moments must be 'keep', 'project' or 'reset', got 'drop'"),
        ({"random_last": 1.5}, "random_last must be in [0, 1], got 1.5"),
        ({"total_steps": None}, "total_steps must be given with random_last=0.5"),
        ({"early_basis": "random"}, "early_basis must be 'svd', 'gram', 'rsvd' or 'power', got 'random'"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        optimizer_of([parameter_of(4, 4)], "golore", **{**GOLORE_LATE, **options})
    assert message in str(raised.value)
