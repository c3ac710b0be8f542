"""Batches in shuffled order without end, or once in order; both can pass over batches without making them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Batch = dict[str, Any]
MakeBatch = Callable[[NDArray[np.int64]], Batch]


class ShuffledBatches:
    """Without end: each epoch all samples in a new order; a rest too small for a batch waits for no one.

    Args:
        rows: of this agent.
        batch_size: samples in a batch; all rows where there are fewer.
        seed: and whatever else the order depends on.
        make: a batch of some rows.

    >>> stream = ShuffledBatches(np.arange(5), 2, (0,), lambda rows: {"rows": rows})
    >>> len(next(stream)["rows"])
    2
    """

    def __init__(
        self, rows: NDArray[np.int64], batch_size: int, seed: tuple[int, ...], make: MakeBatch
    ) -> None:
        self._rows, self._seed, self._make = rows, seed, make
        self._size = min(batch_size, len(rows))
        self._per_epoch = len(rows) // self._size
        self._taken = 0
        self._order: tuple[int, NDArray[np.int64]] | None = None

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        epoch, place = divmod(self._taken, self._per_epoch)
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng([*self._seed, epoch]).permutation(self._rows))
        self._taken += 1
        return self._make(self._order[1][place * self._size : (place + 1) * self._size])

    def skip(self, count: int) -> None:
        """Pass over batches."""
        self._taken += count


class OrderedBatches:
    """Once, in order, the last batch smaller.

    Args:
        rows: of this agent.
        batch_size: samples in a batch.
        make: a batch of some rows.

    >>> [len(batch["rows"]) for batch in OrderedBatches(np.arange(5), 2, lambda rows: {"rows": rows})]
    [2, 2, 1]
    """

    def __init__(self, rows: NDArray[np.int64], batch_size: int, make: MakeBatch) -> None:
        self._rows, self._size, self._make = rows, batch_size, make
        self._taken = 0

    def __len__(self) -> int:
        return math.ceil(len(self._rows) / self._size)

    def __iter__(self) -> Iterator[Batch]:
        while self._taken < len(self):
            self._taken += 1
            yield self._make(self._rows[(self._taken - 1) * self._size : self._taken * self._size])

    def skip(self, count: int) -> None:
        """Pass over batches."""
        self._taken += count
