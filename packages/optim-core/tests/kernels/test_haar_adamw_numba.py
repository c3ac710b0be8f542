"""The compiled CPU step against the reference in plain torch, and what a step over many weights promises."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from graftwork_optim_core.common.scalars import limit_growth
from graftwork_optim_core.kernels import haar_adamw_reference

pytest.importorskip("numba")

from graftwork_optim_core.kernels import haar_adamw_numba as kernel

Weight = tuple[Tensor, Tensor, Tensor, Tensor]

BETAS, EPS = (0.9, 0.99), 1e-6
NUMBERS = kernel.Numbers(mean_correction=2.5, root_correction=0.3, rate=0.02, kept=0.9)
SMALLEST = 0.02
LEVELS = [0, 1, 2, 3, 4, 5, 6, 7]
# A tile is 1024 columns, a part 32768: shapes below, between and beyond, with and without a short last block.
SHAPES = [(1, 1), (3, 5), (4, 64), (2, 171), (1, 1037), (3, 2049), (70, 512), (40, 1003)]


def make_weight(
    shape: tuple[int, int], level: int, dtype: torch.dtype = torch.float64, seed: int = 0
) -> Weight:
    """Return values, gradient and averages as after some steps."""
    generator = torch.Generator().manual_seed(seed)
    coarse = (shape[0], -(-shape[1] // 2**level))

    def normal(size: tuple[int, int]) -> Tensor:
        return torch.randn(size, dtype=torch.float64, generator=generator).to(dtype)

    mean_square = normal(coarse).square() * 0.1 + SMALLEST
    return normal(shape), normal(shape) * 2, normal(coarse) * 0.1, mean_square


def copy(weight: Weight) -> Weight:
    """Return a weight that shares no memory with the first."""
    values, gradient, mean, mean_square = (matrix.clone() for matrix in weight)
    return values, gradient, mean, mean_square


def common(level: int, guard: bool = True, maximize: bool = False) -> dict[str, Any]:
    """Return the options of a call."""
    return {"level": level, "guard": guard, "betas": BETAS, "eps": EPS, "maximize": maximize}


def step(
    weight: Weight, level: int, guard: bool = True, maximize: bool = False, rate: float = NUMBERS.rate
) -> float:
    """Make the kernel's step of one weight and return the squared norm of its direction."""
    # Without a previous norm the limit measures the direction and limits nothing.
    options = {**common(level, guard, maximize), "norm_growth_limit": 1.01}
    (made,) = kernel.haar_adamw_steps([weight], [NUMBERS._replace(rate=rate)], **options)
    return made.norm**2


def reference_step(
    weight: Weight, level: int, guard: bool = True, maximize: bool = False, rate: float = NUMBERS.rate
) -> float:
    """Make the same step in plain torch."""
    factors = torch.tensor([*NUMBERS[:2], rate, NUMBERS.kept, 1.0], dtype=weight[0].dtype)
    options: dict[str, Any] = {"level": level, "guard": guard, "eps": EPS, "maximize": maximize}
    beta1, beta2 = BETAS
    return float(haar_adamw_reference.haar_adamw_step(*weight, factors, **options, beta1=beta1, beta2=beta2))


def steps(
    weights: list[Weight], level: int, limit: float | None, previous: float = 0.0
) -> list[kernel.WeightStep]:
    """Make the kernel's step of many weights."""
    numbers = [NUMBERS._replace(previous_norm=previous)] * len(weights)
    return kernel.haar_adamw_steps(weights, numbers, **common(level), norm_growth_limit=limit)


def assert_same_bits(one: list[Weight], other: list[Weight]) -> None:
    for first, second in zip(one, other, strict=True):
        for name, left, right in zip(
            ("values", "gradient", "mean", "mean_square"), first, second, strict=True
        ):
            assert torch.equal(left.nan_to_num(), right.nan_to_num()), name


@pytest.fixture
def with_threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("guard", [True, False])
@pytest.mark.parametrize("level", LEVELS)
def test_p2_steps_are_those_of_the_reference(level: int, guard: bool, maximize: bool) -> None:
    for shape in SHAPES:
        weight = make_weight(shape, level)
        expected = copy(weight)
        for _ in range(3):
            square, expected_square = (
                take(matrices, level, guard, maximize)
                for take, matrices in ((step, weight), (reference_step, expected))
            )
            assert square == pytest.approx(expected_square, rel=1e-12)
            for found, right in zip(weight, expected, strict=True):
                torch.testing.assert_close(found, right, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("guard", [True, False])
@pytest.mark.parametrize("level", LEVELS)
def test_p2_float32_is_off_by_a_few_of_its_roundings(level: int, guard: bool) -> None:
    for shape in SHAPES:
        weight = make_weight(shape, level, torch.float32)
        values, gradient, mean, mean_square = weight
        exact = (values.double(), gradient.double(), mean.double(), mean_square.double())
        square, exact_square = step(weight, level, guard), reference_step(exact, level, guard)
        assert square == pytest.approx(exact_square, rel=1e-5)
        # The update is a difference of terms that may be larger; both are divided by no less than this root.
        factor = NUMBERS.rate * NUMBERS.mean_correction * NUMBERS.root_correction / (0.99 * SMALLEST) ** 0.5
        terms = factor * (2 * gradient.double().abs().max() + mean.double().abs().max())
        torch.testing.assert_close(mean.double(), exact[2], rtol=2e-6, atol=2e-6)
        torch.testing.assert_close(mean_square.double(), exact[3], rtol=2e-6, atol=2e-6)
        error = (values.double() - exact[0]).abs()
        assert float(error.max()) < 8 * 2**-24 * float(exact[0].abs().max() + terms)


@pytest.mark.parametrize("level", [0, 1, 2, 3, 4])
def test_rows_may_lie_apart_and_what_is_between_them_stays(level: int) -> None:
    for shape in ((5, 64), (5, 171), (40, 1000)):
        weight = make_weight(shape, level)
        apart = []
        for matrix in weight:
            room = torch.full((matrix.shape[0], matrix.shape[1] + 3), math.nan, dtype=matrix.dtype)
            room[:, : matrix.shape[1]] = matrix
            apart.append(room)
        views = tuple(room[:, : matrix.shape[1]] for room, matrix in zip(apart, weight, strict=True))
        square, expected = step(views, level), step(weight, level)  # type: ignore[arg-type]
        assert square == pytest.approx(expected, rel=1e-12)
        for view, matrix, room in zip(views, weight, apart, strict=True):
            torch.testing.assert_close(view, matrix, rtol=1e-13, atol=1e-14)
            assert bool(room[:, matrix.shape[1] :].isnan().all())


@pytest.mark.parametrize("guard", [True, False])
@pytest.mark.parametrize("level", LEVELS)
def test_a_measurement_of_the_norm_changes_no_bit_of_the_step(level: int, guard: bool) -> None:
    for shape in SHAPES:
        measured = make_weight(shape, level)
        unmeasured = copy(measured)
        step(measured, level, guard)
        kernel.haar_adamw_steps([unmeasured], [NUMBERS], **common(level, guard), norm_growth_limit=None)
        assert_same_bits([measured], [unmeasured])


def moves(gradient: Tensor, level: int) -> bool:
    """Return whether a weight with this gradient moves, with a limiter and without one alike."""
    coarse = (gradient.shape[0], -(-gradient.shape[1] // 2**level))
    zeros = [gradient.new_zeros(shape) for shape in (gradient.shape, coarse, coarse)]
    values, mean, mean_square = zeros
    found = {steps([(values, gradient, mean, mean_square)], level, limit)[0].moved for limit in (None, 1.01)}
    assert len(found) == 1
    return found.pop()


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_h5_one_entry_that_is_not_finite_shows_wherever_it_is(dtype: torch.dtype, poison: float) -> None:
    for level in (0, 1, 2, 3, 6):
        for shape in ((1, 1), (3, 5), (3, 2049), (70, 512)):
            gradient = make_weight(shape, level, dtype)[1]
            assert moves(gradient, level)
            for row, column in ((0, 0), (shape[0] - 1, shape[1] - 1), (shape[0] // 2, shape[1] // 2)):
                poisoned = gradient.clone()
                poisoned[row, column] = poison
                assert not moves(poisoned, level)


def test_h5_two_infinities_of_one_block_show() -> None:
    gradient = torch.ones(2, 8)
    gradient[1, 4], gradient[1, 5] = math.inf, -math.inf
    assert not moves(gradient, 1)


def test_h5_only_the_squares_of_the_coarse_gradient_may_not_overflow() -> None:
    alternating = torch.tensor([[1.0, -1.0]]).repeat(40, 500) * 1e30
    assert moves(alternating, 1)
    assert not moves(alternating, 0)
    assert not moves(alternating.abs(), 1)
    # The sum over each part fits into float32, that over all of them does not.
    assert moves(torch.full((1, 32768), 1e17), 0)
    assert not moves(torch.full((2, 32768), 1e17), 0)
    (outcome,) = steps(
        [(torch.zeros(40, 1000), alternating, torch.zeros(40, 500), torch.zeros(40, 500))], 1, None
    )
    assert outcome.moved


@pytest.mark.parametrize("limit", [None, 1.01])
def test_h5_weights_that_cannot_move_keep_everything(limit: float | None) -> None:
    weights = [make_weight((6, 100), 2, torch.float32, seed) for seed in range(4)]
    weights[1][1][3, 17] = math.nan
    weights[2][1][5, 99] = 1e30
    before = [copy(weight) for weight in weights]
    outcomes = steps(weights, 2, limit, previous=3.0)
    assert [outcome.moved for outcome in outcomes] == [True, False, False, True]
    assert outcomes[1].norm == outcomes[2].norm == 3.0
    assert_same_bits(weights[1:3], before[1:3])
    assert all(bool((now[0] != then[0]).any()) for now, then in zip(weights[::3], before[::3], strict=True))


@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize("previous", [0.0, 0.5, 1e6])
def test_eq_limiter_divides_the_rate_and_remembers_the_limited_norm(level: int, previous: float) -> None:
    weights = [make_weight((6, 100), level, seed=seed) for seed in range(3)]
    expected = [copy(weight) for weight in weights]
    outcomes = steps(weights, level, 1.01, previous)
    for weight, right, outcome in zip(weights, expected, outcomes, strict=True):
        square = step(copy(right), level)
        divisor, remembered = limit_growth(math.sqrt(square), previous, 1.01)
        assert (divisor == 1.0) is (previous != 0.5)
        assert outcome.moved
        assert outcome.norm == pytest.approx(remembered, rel=1e-12)
        step(right, level, rate=NUMBERS.rate / float(divisor))
        torch.testing.assert_close(weight, right, rtol=1e-12, atol=1e-13)


def test_eq_limiter_forgets_no_norm_for_a_direction_of_zero() -> None:
    weight = make_weight((2, 8), 1)
    for matrix in weight[1:]:
        matrix.zero_()
    (outcome,) = steps([weight], 1, 1.01, previous=2.0)
    assert outcome == (True, 2.0)


@pytest.mark.parametrize("limit", [None, 1.01])
@pytest.mark.parametrize("level", [0, 2])
def test_no_number_of_threads_changes_a_bit(
    level: int, limit: float | None, with_threads: Callable[[int], None]
) -> None:
    # One of three is large enough to be shared; one has short blocks and therefore other parts.
    shapes = [(512, 1376), (300, 1003), (7, 33), (64, 64), (1, 512), (400, 512)]
    weights = [make_weight(shape, level, torch.float32, seed) for seed, shape in enumerate(shapes)]
    results = []
    for threads in (1, 2, 3, 8):
        with_threads(threads)
        own = [copy(weight) for weight in weights]
        outcomes = [steps(own, level, limit, previous=5.0) for _ in range(2)][-1]
        alone = copy(weights[0])
        results.append((own, outcomes, step(alone, level), alone))
    for own, outcomes, square, alone in results[1:]:
        assert_same_bits(own, results[0][0])
        assert outcomes == results[0][1]
        assert square == results[0][2]
        assert_same_bits([alone], [results[0][3]])


def test_many_weights_make_the_steps_that_each_makes_alone(with_threads: Callable[[int], None]) -> None:
    with_threads(2)
    weights = [
        make_weight((seed % 7 + 1, 16 * (seed % 5) + 3), 2, torch.float32, seed) for seed in range(200)
    ]
    weights.append(make_weight((600, 700), 2, torch.float32))
    alone = [copy(weight) for weight in weights]
    outcomes = steps(weights, 2, 1.01)
    assert outcomes == [steps([weight], 2, 1.01)[0] for weight in alone]
    assert_same_bits(weights, alone)


def test_callers_in_several_threads_do_not_disturb_each_other(with_threads: Callable[[int], None]) -> None:
    with_threads(2)
    weights = [make_weight((300, 1024), 2, torch.float32, seed) for seed in range(6)]
    expected = [copy(weight) for weight in weights]
    for weight in expected:
        steps([weight], 2, 1.01)
    callers = [threading.Thread(target=steps, args=([weight], 2, 1.01)) for weight in weights]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert_same_bits(weights, expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_makes_its_steps_too(with_threads: Callable[[int], None]) -> None:
    with_threads(2)
    weight = make_weight((300, 1024), 2, torch.float32)
    expected = copy(weight)
    steps([expected], 2, 1.01)
    child = os.fork()
    if child == 0:
        # Nothing but the step: other libraries' threads are gone as well. And never back into pytest.
        same = False
        try:
            moved = steps([weight], 2, 1.01)[0].moved
            same = moved and weight[0].numpy().tobytes() == expected[0].numpy().tobytes()
        finally:
            os._exit(0 if same else 1)
    killer = threading.Timer(60, os.kill, (child, 9))
    killer.start()
    _, status = os.waitpid(child, 0)
    killer.cancel()
    assert status == 0


def test_autograd_hears_of_the_change() -> None:
    weight = make_weight((2, 8), 1)
    version = weight[0]._version
    step(weight, 1)
    steps([weight], 1, None)
    assert weight[0]._version == version + 2


@pytest.mark.parametrize(
    ("place", "wrong", "message"),
    [
        (0, torch.zeros(2, 3, 4), "values must be a matrix"),
        (
            1,
            torch.zeros(3, 8),
            r"gradient must have shape \(2, 8\) in torch.float32 at level 1, got \(3, 8\)",
        ),
        (1, torch.zeros(2, 8, dtype=torch.float64), "gradient must have shape .* got .* in torch.float64"),
        (1, torch.zeros(8, 2).T, "gradient must be a matrix with contiguous rows"),
        (2, torch.zeros(2, 8), r"mean must have shape \(2, 4\)"),
        (3, torch.zeros(2, 3), r"mean_square must have shape \(2, 4\)"),
        (0, torch.zeros(2, 8, dtype=torch.bfloat16), "values must be float32 or float64, got torch.bfloat16"),
    ],
)
def test_what_does_not_fit_is_refused(place: int, wrong: Tensor, message: str) -> None:
    weight = list(make_weight((2, 8), 1, torch.float32))
    weight[place] = wrong
    for take in (step, lambda weight, level: steps([weight], level, None)):
        with pytest.raises(ValueError, match=message):
            take(tuple(weight), 1)  # type: ignore[no-untyped-call, arg-type, operator, unused-ignore]


def test_empty_weights_and_empty_lists_are_nothing_to_do() -> None:
    assert steps([], 2, 1.01) == []
    for shape in ((0, 8), (3, 0)):
        assert steps([make_weight(shape, 2)], 2, 1.01)[0].moved
