"""The words are Philox's, the normal numbers are those of the formula, and neither depends on how they are
drawn."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from graftwork_optim_core.numerics import philox
from graftwork_optim_core.numerics.philox import NormalBatch, normal

WORD = 0xFFFFFFFF


def number_by_number(counter: tuple[int, int, int, int], seed: int) -> list[int]:
    """Philox 4x32-10 as its authors state it, on whole numbers of any size."""
    x0, x1, x2, x3 = counter
    key0, key1 = seed & WORD, seed >> 32
    for _ in range(10):
        first, second = 0xD2511F53 * x0, 0xCD9E8D57 * x2
        x0, x1, x2, x3 = (second >> 32) ^ x1 ^ key0, second & WORD, (first >> 32) ^ x3 ^ key1, first & WORD
        key0, key1 = (key0 + 0x9E3779B9) & WORD, (key1 + 0xBB67AE85) & WORD
    return [x0, x1, x2, x3]


def words_of(block: int | Tensor, moment: int | Tensor, parameter_index: int, role: int, seed: int) -> Tensor:
    """Return the package's four words of every counter, ``[..., 4]``; numbers and tensors broadcast."""
    counter = torch.broadcast_tensors(*map(torch.as_tensor, (block, moment, parameter_index, role)))
    shape = counter[0].shape
    x0, x1, x2, x3 = (word.flatten() for word in counter)
    products = (x0 * philox.MULTIPLIERS[0], x2 * philox.MULTIPLIERS[1])
    words = philox._run_rounds(products, x1, x3, seed, torch.empty(6, len(x0), dtype=torch.int64))
    return torch.stack(words, dim=-1).bitwise_and_(WORD).view(*shape, 4)


def normal_of(words: Tensor) -> Tensor:
    """Box and Muller's numbers of ``[blocks, 4]`` words, in double precision."""
    pairs = (words >> 8).double().view(-1, 2, 2)
    radius = (-2 * torch.log((pairs[..., 0] + 1) / 2**24)).sqrt()
    angle = 2 * math.pi * pairs[..., 1] / 2**24
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1).flatten()


# Random123, the authors' library: its file of known answers for philox4x32 with 10 rounds.
@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((WORD,) * 4, (WORD, WORD), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_known_answers(
    counter: tuple[int, int, int, int], key: tuple[int, int], answer: tuple[int, ...]
) -> None:
    assert tuple(words_of(*counter, seed=key[0] | key[1] << 32).tolist()) == answer
    assert tuple(number_by_number(counter, key[0] | key[1] << 32)) == answer


def test_words_agree_number_by_number_and_broadcast() -> None:
    block, moment = torch.tensor([[0], [5], [WORD]]), torch.tensor([0, 7, WORD - 1])
    for seed in (3, 2**64 - 2, 1 << 63):
        words = words_of(block, moment, 2**31, 1 << 8, seed)
        assert words.shape == (3, 3, 4)
        for row, column in ((0, 0), (1, 2), (2, 1)):
            counter = (int(block[row]), int(moment[column]), 2**31, 1 << 8)
            assert words[row, column].tolist() == number_by_number(counter, seed)


def test_normal_numbers_are_those_of_the_words() -> None:
    drawn = normal(40_000, seed=9, moment=4, parameter_index=2, role=1)
    expected = normal_of(words_of(torch.arange(10_000), 4, 2, 1, 9))
    torch.testing.assert_close(drawn.double(), expected, rtol=0.0, atol=1e-6)


def test_extreme_words_give_finite_numbers() -> None:
    words = torch.tensor([[0, 0, 0, WORD], [WORD, 0, 255, 1 << 31]])
    workspace = torch.empty(6, 2, dtype=torch.int64)
    drawn = torch.empty(2, 2, 2)
    x0, x1, x2, x3 = words.T.clone()
    philox._write_normal((x0, x1, x2, x3), drawn, workspace)
    torch.testing.assert_close(drawn.flatten().double(), normal_of(words), rtol=0.0, atol=1e-6)
    assert drawn[0, 0, 0] == pytest.approx(5.768, abs=1e-3)
    assert drawn[1, 0].tolist() == [0, 0]


@pytest.mark.parametrize("chunk", [3, 1 << 15])
def test_an_element_is_the_same_wherever_it_lies(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    """Bit for bit: a shard, and a longer or shorter buffer, give each element the same number."""
    key = {"seed": 7, "moment": 3, "parameter_index": 9, "role": 1}
    whole = normal(1500, **key)
    monkeypatch.setattr(philox, "_CPU_BLOCKS", chunk)
    for first in range(41):
        for count in (1, 3, 16, 37, 513):
            assert torch.equal(normal(count, first=first, **key), whole[first : first + count])


def test_a_batch_is_its_runs() -> None:
    entries = [(4, 0, 10), (0, 3, 5), (4, 10, 1), (7, 2, 0), (2**32 - 1, 2**34 - 9, 9), (1, 0, 5000)]
    batch = NormalBatch(entries)
    runs = batch.draw(seed=5, moment=11, role=2)
    assert batch.flat_size % 4 == 0
    for (index, first, count), run in zip(entries, runs, strict=True):
        alone = normal(count, seed=5, moment=11, parameter_index=index, role=2, first=first)
        assert run.shape == (count,)
        assert torch.equal(run, alone)


def test_a_buffer_is_used_again_and_moments_may_be_tensors() -> None:
    batch = NormalBatch([(0, 0, 9), (1, 1, 6)])
    buffer = torch.full((batch.flat_size,), torch.nan)
    runs = batch.draw(1, torch.tensor(6), torch.tensor(3), out=buffer)
    assert all(run.untyped_storage().data_ptr() == buffer.untyped_storage().data_ptr() for run in runs)
    first = [run.clone() for run in runs]
    assert all(torch.equal(*pair) for pair in zip(first, batch.draw(1, 6, 3), strict=True))
    batch.draw(1, 7, 3, out=buffer)
    assert not any(torch.equal(*pair) for pair in zip(first, runs, strict=True))
    batch.draw(1, 6, 3, out=buffer)
    assert all(torch.equal(*pair) for pair in zip(first, runs, strict=True))


def test_nothing_to_draw() -> None:
    assert NormalBatch([]).draw(0, 0, 0) == []
    assert normal(0, seed=0, moment=0, parameter_index=0, role=0).shape == (0,)


def test_moments_and_distances_of_a_normal_distribution() -> None:
    count = 400_000
    drawn = normal(count, seed=2, moment=0, parameter_index=0, role=0).double()
    error = 4 / math.sqrt(count)
    # The standard error of the mean of x^k is sqrt(E x^2k - (E x^k)^2) / sqrt(count).
    for power, mean, spread in (
        (1, 0, 1),
        (2, 1, math.sqrt(2)),
        (3, 0, math.sqrt(15)),
        (4, 3, math.sqrt(96)),
    ):
        assert abs(float((drawn**power).mean()) - mean) < error * spread
    below = 0.5 * (1 + torch.erf(drawn.sort().values / math.sqrt(2)))
    steps = torch.arange(count).double() / count
    # Kolmogorov's distance; beyond 1.95 / sqrt(count) lies one sample in a thousand.
    assert float((below - steps).abs().max()) < 1.95 / math.sqrt(count)


@pytest.mark.parametrize(
    "varied", ["seed", "seed's upper half", "moment", "parameter_index", "role", "first"]
)
def test_what_numbers_are_for_makes_them_independent(varied: str) -> None:
    count = 100_000
    key = {"seed": 1, "moment": 1, "parameter_index": 1, "role": 1, "first": 0}
    other = {**key, "seed": 1 + 2**32} if "upper" in varied else {**key, varied: key[varied] + 1}
    one, two = normal(count, **key).double(), normal(count, **other).double()
    for left, right in ((one, two), (one.square() - 1, two.square() - 1)):
        correlation = float((left * right).mean() / (left.std() * right.std()))
        assert abs(correlation) < 4 / math.sqrt(count)


def test_a_tensor_of_numbers_does_not_repeat_itself_within() -> None:
    drawn = normal(200_000, seed=0, moment=0, parameter_index=0, role=0).double()
    for lag in (1, 2, 3, 4, 8, 4096):
        product = drawn[lag:] * drawn[:-lag]
        assert abs(float(product.mean())) < 4 / math.sqrt(len(product))


def test_random_state_is_untouched() -> None:
    before = torch.get_rng_state()
    normal(100, seed=1, moment=2, parameter_index=3, role=0)
    assert torch.equal(torch.get_rng_state(), before)


class LargestStorage(TorchDispatchMode):
    """The size in bytes of the largest storage that an operation returned."""

    largest = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.largest = max(self.largest, result.untyped_storage().nbytes())
        return result


def test_nothing_larger_than_the_buffer_or_the_working_set_is_made() -> None:
    batch = NormalBatch([(0, 0, 1_000_000)])
    with LargestStorage() as recorder:
        batch.draw(0, 0, 0)
    assert recorder.largest == 4 * batch.flat_size
    with LargestStorage() as recorder:
        batch.draw(0, 0, 0, out=torch.empty(batch.flat_size))
    assert recorder.largest == 4 * batch.flat_size


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": -1}, "seed must be from 0 below 2\\*\\*64, got -1"),
        ({"seed": 2**64}, "seed must be"),
        ({"moment": 2**32}, "moment must be from 0 below 2\\*\\*32, got 4294967296"),
        ({"role": -1}, "role must be"),
        ({"parameter_index": -1}, "parameter_index must be"),
        ({"first": -1}, "elements must lie from 0 below 2\\*\\*34, got 4 elements from -1"),
        ({"first": 2**34 - 3}, "elements must lie"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(changes: dict[str, int], message: str) -> None:
    key = {"seed": 0, "moment": 0, "parameter_index": 0, "role": 0, "first": 0, **changes}
    with pytest.raises(ValueError, match=message):
        normal(4, **key)


@pytest.mark.parametrize(
    "buffer",
    [torch.empty(7), torch.empty(8, dtype=torch.float64), torch.empty(16)[::2]],
    ids=["length", "dtype", "stride"],
)
def test_a_buffer_that_does_not_fit_is_refused(buffer: Tensor) -> None:
    with pytest.raises(ValueError, match="out must be 8 contiguous float32 numbers, got shape"):
        NormalBatch([(0, 0, 7)]).draw(0, 0, 0, out=buffer)
