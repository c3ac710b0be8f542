"""Sequences of equal length cut out of one long row of tokens, and the order in which training meets them.

Sequence ``i`` is ``tokens[i * length : (i + 1) * length + 1]``: its last token is the next one's first, so
every token but the very first is predicted exactly once, and no padding is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Batch = dict[str, torch.Tensor]


class Sequences(Protocol):
    """Numbered sequences that can be stacked: packed text, or examples of their own length."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """Stack those of some numbers."""
        ...


class PackedSequences:
    """A row of tokens as sequences.

    Args:
        tokens: [tokens], unsigned, usually mapped from a file.
        length: tokens that a sequence predicts.

    Raises:
        ValueError: the row is too short for one sequence.

    >>> PackedSequences(np.arange(9, dtype=np.uint16), 4).batch(np.array([1]))["targets"].tolist()
    [[5, 6, 7, 8]]
    """

    def __init__(self, tokens: NDArray[np.unsignedinteger], length: int) -> None:
        if len(tokens) < length + 1:
            raise ValueError(f"a sequence needs {length + 1} tokens, got {len(tokens)}")
        self.length = length
        # A plain view: indexing numpy's memmap class costs several times as much.
        self._windows = sliding_window_view(np.asarray(tokens), length + 1)[::length]

    def __len__(self) -> int:
        """How many whole sequences there are."""
        return len(self._windows)

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """Return some sequences.

        Args:
            rows: [sequences], which ones.

        Returns:
            ``input_ids`` and ``targets``, both int64 [sequences, length]: the target of a token is the next
            token.
        """
        block = torch.from_numpy(self._windows[rows].astype(np.int64))
        return {"input_ids": block[:, :-1], "targets": block[:, 1:]}


class TrainingStream(Iterator[Batch]):
    """One rank's batches, without end: every epoch is a new order of all sequences, drawn from the seed.

    All ranks walk one common order and take turns: of each ``world_size * batch_size`` consecutive sequences
    every rank takes its own ``batch_size``. What one update sees over all ranks therefore depends on the
    number of sequences in it only, not on how they are shared out (with gradient accumulation too). A batch
    may span two epochs, so no sequence is left out.

    Args:
        sequences: what to draw from.
        batch_size: sequences in a batch of one rank.
        rank: this process, from 0.
        world_size: number of processes.
        seed: of the order.
    """

    def __init__(
        self, sequences: Sequences, *, batch_size: int, rank: int, world_size: int, seed: int
    ) -> None:
        if world_size < 1 or not 0 <= rank < world_size:
            raise ValueError(f"rank must be in 0..world_size - 1, got rank {rank} of {world_size}")
        if seed < 0:
            raise ValueError(f"seed must be at least 0, got {seed}")
        self._sequences = sequences
        self._batch_size = batch_size
        self._rank = rank
        self._world_size = world_size
        self._seed = seed
        self._drawn = 0
        self._orders: dict[int, NDArray[np.int64]] = {}

    def skip(self, count: int) -> None:
        """Pass over batches without reading them.

        Args:
            count: how many, 0 or more.
        """
        if count < 0:
            raise ValueError(f"count must be at least 0, got {count}")
        self._drawn += count

    def __next__(self) -> Batch:
        """The next batch."""
        first = (self._drawn * self._world_size + self._rank) * self._batch_size
        self._drawn += 1
        return self._sequences.batch(self._rows(first, self._batch_size))

    def _rows(self, first: int, count: int) -> NDArray[np.int64]:
        """The sequences at positions first..first + count - 1 of the endless order."""
        epoch, start = divmod(first, len(self._sequences))
        rows = self._order(epoch)[start : start + count]
        while len(rows) < count:
            epoch += 1
            rows = np.concatenate([rows, self._order(epoch)[: count - len(rows)]])
        return rows

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if epoch not in self._orders:
            order = np.random.default_rng([self._seed, epoch]).permutation(len(self._sequences))
            # A batch needs two neighbouring epochs at most, unless an epoch is shorter than a batch.
            self._orders = {kept: rows for kept, rows in self._orders.items() if kept == epoch - 1}
            self._orders[epoch] = order
        return self._orders[epoch]


class OrderedPass(Iterable[Batch]):
    """Sequences once and in order; the last batch may be smaller.

    Args:
        sequences: what to read.
        count: how many of them, from the first.
        batch_size: sequences in a batch.
        rank: this process, from 0; it takes every ``world_size``-th batch.
        world_size: number of processes.
    """

    def __init__(
        self, sequences: Sequences, *, count: int, batch_size: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self._sequences = sequences
        self._starts = range(rank * batch_size, count, world_size * batch_size)
        self._count = count
        self._batch_size = batch_size

    def __len__(self) -> int:
        """How many batches there are."""
        return len(self._starts)

    def __iter__(self) -> Iterator[Batch]:
        """Begin a pass."""
        for start in self._starts:
            yield self._sequences.batch(np.arange(start, min(start + self._batch_size, self._count)))
