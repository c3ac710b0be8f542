"""The orders in which examples are met: without end and shuffled, or once and as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic, Protocol, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

B_co = TypeVar("B_co", covariant=True)


class Examples(Protocol[B_co]):
    """Numbered examples that can be made into a batch."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def batch(self, rows: NDArray[np.int64]) -> B_co:
        """Make a batch of those of some numbers."""
        ...


class EndlessOrder:
    """The numbers 0..count - 1 over and over: every epoch in an order of its own, drawn from the seed.

    Args:
        count: of the numbers, 1 or more.
        seed: of the orders; several numbers, each 0 or more.
        shuffle: whether there is anything to draw; otherwise every epoch counts upwards.

    >>> EndlessOrder(3, [0], shuffle=False).rows(2, 3).tolist()
    [2, 0, 1]
    """

    def __init__(self, count: int, seed: Sequence[int], *, shuffle: bool = True) -> None:
        self.count, self.seed = count, list(seed)
        self._shuffle = shuffle
        self._orders: dict[int, NDArray[np.int64]] = {}

    def rows(self, first: int, count: int) -> NDArray[np.int64]:
        """The numbers at positions first..first + count - 1."""
        epoch, start = divmod(first, self.count)
        rows = self._order(epoch)[start : start + count]
        while len(rows) < count:
            epoch += 1
            rows = np.concatenate([rows, self._order(epoch)[: count - len(rows)]])
        return rows

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if not self._shuffle:
            epoch = 0
        if epoch not in self._orders:
            order = np.arange(self.count)
            if self._shuffle:
                order = np.random.default_rng([*self.seed, epoch]).permutation(self.count)
            # A batch needs two neighbouring epochs at most, unless an epoch is shorter than a batch.
            self._orders = {kept: rows for kept, rows in self._orders.items() if kept == epoch - 1}
            self._orders[epoch] = order
        return self._orders[epoch]


class EndlessBatches(Iterator[B_co]):
    """One rank's batches, without end: every epoch is a new order of all examples, drawn from the seed.

    All ranks walk one common order and take turns: of each ``world_size * batch_size`` consecutive examples
    every rank takes its own ``batch_size``. What one update sees over all ranks therefore depends on the
    number of examples in it only, not on how they are shared out (with gradient accumulation too). A batch
    may span two epochs, so no example is left out.

    Args:
        examples: what to draw from.
        batch_size: examples in a batch of one rank.
        rank: this worker, from 0.
        world_size: number of workers.
        seed: of the order; a number, or several.

    Attributes:
        position: examples that all ranks have taken so far.
        stride: examples that all ranks take in one turn.
        epoch_samples: examples that there are.
        world_size: as given; 1 for one rank's own data.

    Raises:
        ValueError: there are no examples, or a number is out of its range.
    """

    def __init__(
        self,
        examples: Examples[B_co],
        *,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        seed: int | Sequence[int],
    ) -> None:
        seeds = [seed] if isinstance(seed, int) else list(seed)
        if world_size < 1 or not 0 <= rank < world_size:
            raise ValueError(f"rank must be in 0..world_size - 1, got rank {rank} of {world_size}")
        if min(seeds) < 0:
            raise ValueError(f"seed must be at least 0, got {seed}")
        if batch_size < 1 or not len(examples):
            raise ValueError(f"a batch needs an example at least, got {batch_size} of {len(examples)}")
        self._examples = examples
        self._batch_size = batch_size
        self._rank = rank
        self._order = EndlessOrder(len(examples), seeds)
        self.world_size = world_size
        self.stride, self.epoch_samples = world_size * batch_size, len(examples)
        self.position = 0

    def skip(self, count: int) -> None:
        """Pass over batches without making them.

        Args:
            count: how many, 0 or more.
        """
        if count < 0:
            raise ValueError(f"count must be at least 0, got {count}")
        self.position += count * self.stride

    def seek(self, position: int) -> None:
        """Go on from where all ranks together had taken so many examples, whoever took them.

        Args:
            position: 0 or more.
        """
        if position < 0:
            raise ValueError(f"position must be at least 0, got {position}")
        self.position = position

    def __next__(self) -> B_co:
        """The next batch."""
        first = self.position + self._rank * self._batch_size
        self.skip(1)
        return self._examples.batch(self._order.rows(first, self._batch_size))


class OrderedBatches(Sequence[B_co], Generic[B_co]):
    """Examples once and in order, as a sequence whose batches are made when they are asked for.

    Args:
        examples: what to read.
        batch_size: examples in a batch; the last may be smaller.
        count: how many examples, from the first; None for all.
        rank: this worker, from 0; it takes every ``world_size``-th batch.
        world_size: number of workers.
    """

    def __init__(
        self,
        examples: Examples[B_co],
        *,
        batch_size: int,
        count: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._examples = examples
        self._count = len(examples) if count is None else count
        self._starts = range(rank * batch_size, self._count, world_size * batch_size)
        self._batch_size = batch_size

    def __len__(self) -> int:
        """How many batches there are."""
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> B_co: ...
    @overload
    def __getitem__(self, index: slice) -> list[B_co]: ...
    def __getitem__(self, index: int | slice) -> B_co | list[B_co]:
        """Make a batch."""
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        start = self._starts[index]
        return self._examples.batch(np.arange(start, min(start + self._batch_size, self._count)))
