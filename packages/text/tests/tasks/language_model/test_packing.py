"""Sequences, the endless training order, and the ordered pass."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from graftwork_text.tasks.language_model.packing import Batch, OrderedPass, PackedSequences, TrainingStream

LENGTH = 4


def sequences(count: int = 10, extra: int = 1) -> PackedSequences:
    return PackedSequences(np.arange(count * LENGTH + extra, dtype=np.uint16), LENGTH)


def stream(**options: Any) -> TrainingStream:
    settings: dict[str, Any] = {"batch_size": 2, "rank": 0, "world_size": 1, "seed": 0}
    packed = options.pop("packed", None) or sequences()
    return TrainingStream(packed, **(settings | options))


def rows(batch: Batch) -> list[int]:
    """Which sequences a batch holds: a sequence's first token says so."""
    return [int(token) // LENGTH for token in batch["input_ids"][:, 0]]


def take(batches: TrainingStream, count: int) -> list[list[int]]:
    return [rows(batch) for batch in itertools.islice(batches, count)]


@pytest.mark.parametrize(("extra", "expected"), [(1, 10), (4, 10), (0, 9)])
def test_whole_sequences(extra: int, expected: int) -> None:
    assert len(sequences(extra=extra)) == expected


def test_every_token_but_the_first_is_predicted_once() -> None:
    batch = sequences().batch(np.arange(10))
    assert batch["targets"].flatten().tolist() == list(range(1, 41))
    torch.testing.assert_close(batch["input_ids"] + 1, batch["targets"])
    assert batch["input_ids"].dtype == torch.int64
    assert batch["input_ids"].shape == (10, LENGTH)


def test_batches_are_copies_of_the_tokens() -> None:
    tokens = np.arange(9, dtype=np.uint16)
    PackedSequences(tokens, LENGTH).batch(np.array([0]))["input_ids"].zero_()
    assert tokens.tolist() == list(range(9))


def test_too_few_tokens() -> None:
    with pytest.raises(ValueError, match="a sequence needs 5 tokens, got 4"):
        PackedSequences(np.zeros(4, np.uint16), LENGTH)


def test_same_arguments_same_batches() -> None:
    assert take(stream(seed=3), 20) == take(stream(seed=3), 20)
    assert take(stream(seed=3), 20) != take(stream(seed=4), 20)


def test_every_epoch_has_every_sequence_in_a_new_order() -> None:
    drawn = list(itertools.chain.from_iterable(take(stream(), 15)))
    epochs = [drawn[:10], drawn[10:20], drawn[20:]]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_batches_may_span_epochs() -> None:
    drawn = list(itertools.chain.from_iterable(take(stream(batch_size=3), 10)))
    assert all(sorted(drawn[start : start + 10]) == list(range(10)) for start in (0, 10, 20))


def test_batch_larger_than_an_epoch() -> None:
    (drawn,) = take(stream(packed=sequences(3), batch_size=9), 1)
    assert sorted(drawn) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_ranks_are_disjoint_and_together_one_order(world_size: int) -> None:
    alone = list(itertools.chain.from_iterable(take(stream(packed=sequences(60)), 2 * world_size)))
    ranks = [take(stream(packed=sequences(60), rank=r, world_size=world_size), 2) for r in range(world_size)]
    together = [row for step in range(2) for rank in ranks for row in rank[step]]
    assert together == alone
    assert len(set(together)) == len(together)


def test_an_update_sees_the_same_sequences_however_they_are_shared_out() -> None:
    """Eight sequences an update, over one, two or four ranks and one, two or four micro-batches."""

    def update(number: int, world_size: int, accumulate: int, batch_size: int) -> set[int]:
        found: set[int] = set()
        for rank in range(world_size):
            batches = stream(packed=sequences(50), batch_size=batch_size, rank=rank, world_size=world_size)
            batches.skip(number * accumulate)
            found.update(*take(batches, accumulate))
        return found

    for number in range(3):
        shared_out = [update(number, *way) for way in [(1, 4, 2), (2, 2, 2), (4, 1, 2), (2, 1, 4), (1, 1, 8)]]
        assert all(way == shared_out[0] for way in shared_out)
        assert len(shared_out[0]) == 8


@pytest.mark.parametrize("count", [0, 1, 4, 7, 23])
def test_skip_equals_drawing(count: int) -> None:
    drawn, skipped = (stream(batch_size=3, rank=1, world_size=2, seed=5) for _ in range(2))
    take(drawn, count)
    skipped.skip(count)
    assert take(drawn, 6) == take(skipped, 6)


def test_skip_is_as_quick_for_many() -> None:
    batches = stream()
    batches.skip(10**12)
    assert len(take(batches, 1)[0]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 2, "world_size": 2}, "got rank 2 of 2"),
        ({"rank": -1}, "got rank -1 of 1"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_arguments_out_of_range(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stream(**options)


def test_negative_skip() -> None:
    with pytest.raises(ValueError, match="count must be at least 0, got -1"):
        stream().skip(-1)


def test_ordered_pass() -> None:
    batches = OrderedPass(sequences(), count=7, batch_size=3)
    assert len(batches) == 3
    for _ in range(2):
        assert [rows(batch) for batch in batches] == [[0, 1, 2], [3, 4, 5], [6]]


def test_ordered_pass_of_ranks_is_disjoint_and_complete() -> None:
    passes = [OrderedPass(sequences(), count=10, batch_size=3, rank=r, world_size=2) for r in (0, 1)]
    found = [[rows(batch) for batch in one] for one in passes]
    assert found == [[[0, 1, 2], [6, 7, 8]], [[3, 4, 5], [9]]]
