"""The endless order of training and the ordered pass of an evaluation."""

from __future__ import annotations

import itertools

import pytest

from graftwork_trainer.data.order import EndlessBatches, OrderedBatches


class Numbers:
    """Examples whose batch is their numbers."""

    def __init__(self, count=10):
        self.count = count

    def __len__(self):
        return self.count

    def batch(self, rows):
        return rows.tolist()


def endless(count=10, **options):
    return EndlessBatches(Numbers(count), **({"batch_size": 2, "seed": 0} | options))


def take(batches, count):
    return list(itertools.islice(batches, count))


def chained(batches, count):
    return list(itertools.chain.from_iterable(take(batches, count)))


def test_same_arguments_same_batches():
    assert take(endless(seed=3), 20) == take(endless(seed=3), 20)
    assert take(endless(seed=3), 20) != take(endless(seed=4), 20)
    assert take(endless(seed=(3, 1)), 20) == take(endless(seed=(3, 1)), 20)
    assert take(endless(seed=(3, 1)), 20) != take(endless(seed=(3, 2)), 20)


def test_every_epoch_has_every_example_in_a_new_order():
    drawn = chained(endless(), 15)
    epochs = [drawn[:10], drawn[10:20], drawn[20:]]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_batches_may_span_epochs():
    drawn = chained(endless(batch_size=3), 10)
    assert all(sorted(drawn[start : start + 10]) == list(range(10)) for start in (0, 10, 20))


def test_a_batch_larger_than_an_epoch():
    (drawn,) = take(endless(3, batch_size=9), 1)
    assert sorted(drawn) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_ranks_are_disjoint_and_together_one_order(world_size):
    alone = chained(endless(60), 2 * world_size)
    ranks = [take(endless(60, rank=rank, world_size=world_size), 2) for rank in range(world_size)]
    together = [row for step in range(2) for rank in ranks for row in rank[step]]
    assert together == alone
    assert len(set(together)) == len(together)


def test_an_update_sees_the_same_examples_however_they_are_shared_out():
    """Eight examples an update, over one, two or four ranks and one, two or four micro-batches."""

    def update(number, world_size, accumulate, batch_size):
        found = set()
        for rank in range(world_size):
            batches = endless(50, batch_size=batch_size, rank=rank, world_size=world_size)
            batches.skip(number * accumulate)
            found.update(*take(batches, accumulate))
        return found

    for number in range(3):
        shared_out = [update(number, *way) for way in [(1, 4, 2), (2, 2, 2), (4, 1, 2), (2, 1, 4), (1, 1, 8)]]
        assert all(way == shared_out[0] for way in shared_out)
        assert len(shared_out[0]) == 8


@pytest.mark.parametrize("count", [0, 1, 4, 7, 23])
def test_skipping_equals_drawing(count):
    drawn, skipped = (endless(batch_size=3, rank=1, world_size=2, seed=5) for _ in range(2))
    take(drawn, count)
    skipped.skip(count)
    assert take(drawn, 6) == take(skipped, 6)


def test_skipping_is_as_quick_for_many():
    batches = endless()
    batches.skip(10**12)
    assert len(next(batches)) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 2, "world_size": 2}, "got rank 2 of 2"),
        ({"rank": -1}, "got rank -1 of 1"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"batch_size": 0}, "a batch needs an example at least, got 0 of 10"),
        ({"count": 0}, "a batch needs an example at least, got 2 of 0"),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        endless(**options)


def test_skipping_back():
    with pytest.raises(ValueError, match="count must be at least 0, got -1"):
        endless().skip(-1)


def test_an_ordered_pass_can_be_taken_again_and_indexed():
    batches = OrderedBatches(Numbers(), count=7, batch_size=3)
    assert len(batches) == 3
    for _ in range(2):
        assert list(batches) == [[0, 1, 2], [3, 4, 5], [6]]
    assert batches[-1] == [6]
    assert batches[1:] == [[3, 4, 5], [6]]


def test_ordered_passes_of_ranks_are_disjoint_and_complete():
    passes = [OrderedBatches(Numbers(), batch_size=3, rank=rank, world_size=2) for rank in (0, 1)]
    assert [list(batches) for batches in passes] == [[[0, 1, 2], [6, 7, 8]], [[3, 4, 5], [9]]]
