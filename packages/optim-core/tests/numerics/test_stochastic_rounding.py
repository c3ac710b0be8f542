"""Rounding is unbiased, repeatable and blind to sharding; its random bits look uniform."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from graftwork_optim_core.numerics.stochastic_rounding import round_stochastically

BFLOAT16_MAX = float(torch.finfo(torch.bfloat16).max)


def neighbours(values: Tensor) -> tuple[Tensor, Tensor]:
    """The bfloat16 numbers next to float32 values, towards zero and away from it."""
    bits = values.view(torch.int32) & -(2**16)
    return bits.view(torch.float32), (bits + 2**16).view(torch.float32)


def noise_bins(count: int, seed_parts: tuple[int, ...], bins: int = 16) -> Tensor:
    """In which of equally likely bins the random number of every element falls, seen from outside.

    A value at the fraction k / bins between two bfloat16 numbers is rounded up if it falls in the last k.
    """
    ups = torch.zeros(count, dtype=torch.int64)
    for fraction in range(1, bins):
        value = 1.0 + fraction / bins * 2.0**-7
        ups += round_stochastically(torch.full((count,), value), seed_parts) > 1.0
    return ups


def chi_square(bins: Tensor, number: int = 16) -> float:
    counts = torch.bincount(bins, minlength=number).double()
    expected = len(bins) / number
    return float(((counts - expected) ** 2 / expected).sum())


def correlation(one: Tensor, two: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one.double(), two.double()]))[0, 1])


@pytest.mark.parametrize("varied", ["index", "step", "parameter", "seed"])
def test_the_mean_is_the_value_within_four_standard_errors(varied: str) -> None:
    count = 2048
    values = torch.randn(40) * torch.logspace(-30, 30, 40)
    below, above = neighbours(values)
    if varied == "index":
        rounded = round_stochastically(values.unsqueeze(1).expand(-1, count), (1, 2, 3))
    else:
        place = ["seed", "parameter", "step"].index(varied)
        parts = [[k if i == place else 5 for i in range(3)] for k in range(count)]
        rounded = torch.stack([round_stochastically(values, part) for part in parts], dim=1)
    rounded = rounded.double()
    assert ((rounded == below.unsqueeze(1)) | (rounded == above.unsqueeze(1))).all()
    gap = (above.double() - below.double()).abs()
    chance = (values.double() - below).abs() / gap
    standard_error = gap * (chance * (1 - chance) / count).sqrt()
    deviations = (rounded.mean(1) - values.double()) / standard_error
    assert deviations.abs().max() < 4
    assert abs(deviations.mean()) < 4 / math.sqrt(40)


def test_exactly_representable_numbers_stay() -> None:
    every = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    exact = every[~every.isnan()]
    for step in range(20):
        rounded = round_stochastically(exact.float(), (0, 0, step))
        assert torch.equal(rounded.view(torch.int16), exact.view(torch.int16))


def test_every_nan_stays_nan() -> None:
    payloads = torch.tensor([0x7F800001, 0x7F80FFFF, 0x7FC00000, 0x7FFFFFFF, -1, -0x7FFFFF])
    nans = payloads.to(torch.int32).view(torch.float32)
    assert nans.isnan().all()
    for step in range(50):
        assert round_stochastically(nans, (0, 0, step)).isnan().all()


def test_only_what_nearest_rounding_makes_infinite_becomes_infinite() -> None:
    bits = torch.arange(0x7F7E0000, 0x7F800000, 257, dtype=torch.int32)
    values = torch.cat([bits.view(torch.float32), -bits.view(torch.float32)])
    nearest = values.to(torch.bfloat16)
    beyond = values.abs() > BFLOAT16_MAX
    assert nearest.isinf().any()
    assert (beyond & ~nearest.isinf()).any()
    seen = set()
    for step in range(20):
        rounded = round_stochastically(values, (0, 0, step))
        assert torch.equal(rounded[beyond], nearest[beyond])
        assert torch.isfinite(rounded[~beyond]).all()
        seen.update(rounded[~beyond].tolist())
    assert {BFLOAT16_MAX, -BFLOAT16_MAX} <= seen


def test_subnormal_numbers_are_rounded_without_bias_too() -> None:
    value = torch.tensor(0x00012345, dtype=torch.int32).view(torch.float32)
    rounded = round_stochastically(value.expand(2**16), (0, 0, 0))
    share_above = (rounded.view(torch.int16) == 2).double().mean()
    chance = 0x2345 / 2**16
    assert set(rounded.view(torch.int16).tolist()) == {1, 2}
    assert abs(share_above - chance) < 4 * math.sqrt(chance * (1 - chance) / 2**16)


def test_rounding_is_symmetric_in_sign() -> None:
    values = torch.randn(10_001)
    for step in range(3):
        plus, minus = (round_stochastically(sign * values, (1, 0, step)) for sign in (1, -1))
        assert torch.equal(minus, -plus)


@pytest.mark.parametrize(("rows", "columns"), [(8, 16), (7, 13), (5, 1)])
def test_p_row_shards_agree_with_the_whole(rows: int, columns: int) -> None:
    values = torch.randn(rows, columns)
    whole = round_stochastically(values, (3, 1, 4))
    for start in range(rows):
        for stop in range(start, rows + 1):
            part = round_stochastically(values[start:stop], (3, 1, 4), first_index=start * columns)
            assert torch.equal(part, whole[start:stop])


def test_indices_beyond_32_bits() -> None:
    values = torch.full((1000,), 1.003)
    base = 2**32 - 501
    whole = round_stochastically(values, (0, 0, 0), first_index=base)
    part = round_stochastically(values[600:], (0, 0, 0), first_index=base + 600)
    assert torch.equal(part, whole[600:])
    assert not torch.equal(whole, round_stochastically(values, (0, 0, 0), first_index=base - 2**32 + 2**10))
    assert not torch.equal(whole, round_stochastically(values, (0, 0, 0), first_index=base + 2**32))


def test_a_step_that_is_repeated_rounds_alike_and_another_does_not() -> None:
    values = torch.randn(64, 64)
    torch.manual_seed(1)
    first = round_stochastically(values, (7, 2, 100))
    torch.manual_seed(2)
    assert torch.equal(round_stochastically(values, (7, 2, 100)), first)
    assert torch.initial_seed() == 2
    for other in [(8, 2, 100), (7, 3, 100), (7, 2, 101), (2, 7, 100), (7, 2), (7, 2, 100, 0)]:
        # Two independent roundings of a value agree with a chance of 1 - 2 p (1 - p), on average 2 / 3.
        agreement = (round_stochastically(values, other) == first).double().mean()
        assert abs(agreement - 2 / 3) < 0.05


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.float32])
@pytest.mark.parametrize("step", [0, 1, 12_345, 2**24 - 1])
def test_a_step_in_a_tensor_rounds_like_the_number(step: int, dtype: torch.dtype) -> None:
    values = torch.randn(301)
    expected = round_stochastically(values, (2**70 + 5, -3, step), first_index=1)
    for shape in [(), (1,)]:
        as_tensor = torch.full(shape, step, dtype=dtype)
        ours = round_stochastically(values, (2**70 + 5, -3, as_tensor), first_index=1)
        assert torch.equal(ours, expected)
        assert int(as_tensor) == step


def test_numbers_and_tensors_mix_in_any_order() -> None:
    values = torch.randn(301)
    expected = round_stochastically(values, (5, 2**70 + 5, -(2**64)))
    assert torch.equal(round_stochastically(values, (torch.tensor(5), 2**70 + 5, -(2**64))), expected)


Draw = Callable[[int], Tensor]
DRAWS: dict[str, Draw] = {
    "index": lambda count: noise_bins(count, (0, 0, 1)),
    "step": lambda count: torch.cat([noise_bins(2, (0, 0, step)) for step in range(count // 2)]),
    "parameter": lambda count: torch.cat([noise_bins(2, (0, k, 1)) for k in range(count // 2)]),
}


@pytest.mark.parametrize(("varied", "count"), [("index", 2**17), ("step", 2**8), ("parameter", 2**8)])
def test_random_bits_are_uniform_over_sixteen_bins(varied: str, count: int) -> None:
    # 15 degrees of freedom: between these with a chance of 0.998.
    assert 3.5 < chi_square(DRAWS[varied](count)) < 37.7


@pytest.mark.parametrize("seed", range(4))
def test_neighbouring_elements_steps_and_parameters_are_uncorrelated(seed: int) -> None:
    count = 2**15
    bins = noise_bins(count, (seed, 3, 10))
    limit = 4 / math.sqrt(count)
    for lag in (1, 2, 3, 4, 64, 256, 1024):
        assert abs(correlation(bins[lag:], bins[:-lag])) < limit
    for other in [(seed, 3, 11), (seed, 4, 10), (seed + 1, 3, 10), (3, seed, 10)]:
        if other != (seed, 3, 10):
            assert abs(correlation(bins, noise_bins(count, other))) < limit


def test_pairs_of_neighbours_are_uniform() -> None:
    bins = noise_bins(2**17, (5, 6, 7))
    for lag in (1, 2):
        pairs = bins[:-lag] * 16 + bins[lag:]
        # 255 degrees of freedom, standard deviation 22.6.
        assert abs(chi_square(pairs, 256) - 255) < 4 * 22.6


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3, 5)])
def test_shapes(shape: tuple[int, ...]) -> None:
    values = torch.randn(shape)
    before = values.clone()
    rounded = round_stochastically(values, (0,))
    assert rounded.shape == shape
    assert rounded.dtype == torch.bfloat16
    assert torch.equal(values, before)


def test_elements_count_row_by_row_whatever_the_strides() -> None:
    for values in (torch.randn(12, 20).t(), torch.randn(40)[::2], torch.tensor(1.003).expand(4, 5)):
        copied = round_stochastically(values.contiguous(), (0,))
        assert torch.equal(round_stochastically(values, (0,)), copied)


def test_messages_say_what_would_be_right() -> None:
    with pytest.raises(ValueError, match=r"values must be float32, got torch\.float64"):
        round_stochastically(torch.ones(2, dtype=torch.float64), (0,))
    with pytest.raises(ValueError, match="first_index must be 0 or more, got -1"):
        round_stochastically(torch.ones(2), (0,), first_index=-1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_rounds_like_the_cpu_and_waits_for_nothing() -> None:
    values = torch.randn(33, 77)
    expected = round_stochastically(values, (1, 2, 3), first_index=5)
    there, step = values.cuda(), torch.tensor(3.0, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        by_tensor = round_stochastically(there, (1, 2, step), first_index=5)
        by_number = round_stochastically(there, (1, 2, 3), first_index=5)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(by_tensor.cpu(), expected)
    assert torch.equal(by_number.cpu(), expected)
