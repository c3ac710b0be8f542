"""The compiled running mean and its norm against the reference in plain torch."""

from __future__ import annotations

import os
import threading

import pytest
import torch
from torch import Tensor

from graftwork_optim_core.kernels import momentum_norm_reference as reference

pytest.importorskip("numba")

from graftwork_optim_core.kernels import momentum_norm_numba as kernel

# Blocks are of 4096 elements, parts of 262144: sizes below, between and beyond, and not divisible by 4.
SIZES = [1, 3, 5, 1023, 4096, 4097, 16384, 100_003, 262_144, 262_145, 600_001]
DTYPES = [torch.float32, torch.float64]


def pair(size: int, dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, dtype=dtype, generator=generator), torch.randn(
        size, dtype=dtype, generator=generator
    )


def tolerance(dtype: torch.dtype) -> float:
    return 2e-6 if dtype == torch.float32 else 1e-13


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sums_of_squares_of_many_sizes(dtype: torch.dtype) -> None:
    tensors = [pair(size, dtype, size)[0] for size in SIZES]
    assert kernel.sums_of_squares(tensors) == pytest.approx(
        reference.sums_of_squares(tensors), rel=tolerance(dtype)
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("weight", [1e-3, 0.1, 0.49, 0.5, 0.9, 1.0])
def test_means_and_their_squares(dtype: torch.dtype, weight: float) -> None:
    pairs = [pair(size, dtype, size) for size in SIZES]
    expected = [momentum.clone().double() for momentum, _ in pairs]
    factors = [1.0 if number % 2 else 0.3 for number in range(len(pairs))]
    weights = [weight] * len(pairs)
    right = reference.average_and_square(
        expected, [gradient.double() for _, gradient in pairs], weights, factors
    )
    momenta, gradients = [one for one, _ in pairs], [one.clone() for _, one in pairs]
    assert kernel.average_and_square(momenta, gradients, weights, factors) == pytest.approx(
        right, rel=tolerance(dtype)
    )
    for momentum, one in zip(momenta, expected, strict=True):
        torch.testing.assert_close(momentum.double(), one, rtol=tolerance(dtype), atol=tolerance(dtype))
    assert all(torch.equal(one, gradient) for one, (_, gradient) in zip(gradients, pairs, strict=True))


def test_of_a_weight_of_one_nothing_is_left_of_the_mean() -> None:
    momentum, gradient = torch.full((5,), 1e20), torch.arange(5.0)
    assert kernel.average_and_square([momentum], [gradient], [1.0], [1.0]) == [30.0]
    assert torch.equal(momentum, gradient)


@pytest.mark.parametrize("place", [0, 1, 4095, 4096, 99_999, 100_002])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_no_bad_value_is_missed(place: int, bad: float) -> None:
    values = pair(100_003, torch.float32)[0]
    values[place] = bad
    (square,) = kernel.sums_of_squares([values]) or [0.0]
    assert not torch.tensor(square).isfinite()


def test_the_number_of_threads_changes_no_bit() -> None:
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            momentum, gradient = pair(1_500_001, torch.float32)
            small = pair(10, torch.float32)
            squares = kernel.average_and_square(
                [momentum, small[0]], [gradient, small[1]], [0.1] * 2, [1.0] * 2
            )
            found.append((squares, kernel.sums_of_squares([momentum, gradient]), momentum))
    finally:
        torch.set_num_threads(before)
    for squares, sums, momentum in found[1:]:
        assert squares == found[0][0]
        assert sums == found[0][1]
        assert torch.equal(momentum, found[0][2])


def test_what_it_cannot_take_is_left_untouched() -> None:
    momentum, gradient = pair(64, torch.float32)
    before = momentum.clone()
    assert kernel.average_and_square([momentum], [gradient.double()], [0.5], [1.0]) is None
    assert kernel.average_and_square([momentum], [gradient[:32]], [0.5], [1.0]) is None
    square = gradient.view(8, 8)
    assert kernel.average_and_square([momentum], [square], [0.5], [1.0]) is None
    assert kernel.average_and_square([momentum.view(8, 8)], [square.T], [0.5], [1.0]) is None
    assert kernel.sums_of_squares([momentum.bfloat16()]) is None
    assert kernel.sums_of_squares([momentum[::2]]) is None
    assert kernel.sums_of_squares([momentum, gradient.double()]) is None
    assert kernel.sums_of_squares([torch.zeros(3, device="meta")]) is None
    assert torch.equal(momentum, before)


def test_autograd_knows_that_the_mean_was_written() -> None:
    momentum, gradient = pair(8, torch.float32)
    version = momentum._version
    kernel.average_and_square([momentum], [gradient], [0.5], [1.0])
    assert momentum._version == version + 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        values = torch.ones(1_000_000)
        assert kernel.sums_of_squares([values]) == [1e6]
        child = os.fork()
        if child == 0:
            # Without threads of its own it would wait for ever.
            threading.Timer(20, os._exit, (3,)).start()
            os._exit(0 if kernel.sums_of_squares([values]) == [1e6] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        torch.set_num_threads(before)
