"""Map-style datasets: samples that have numbers, made by number in any process."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from fractions import Fraction
from typing import Any

from torch.utils.data import Dataset, get_worker_info

from graftwork import GraftworkError
from graftwork_trainer.data.failures import Failure, described
from graftwork_trainer.data.order import EndlessOrder
from graftwork_trainer.data.own_generators import why_inexact
from graftwork_trainer.data.seeding import as_in_a_worker, seed_generators
from graftwork_trainer.data.source import Source
from graftwork_trainer.data.stream import Stream
from graftwork_trainer.data.workers import Desks, Loading, WorkerBatches

Key = tuple[int, int]
"""Epoch and number of a sample: what it is made from, beside the seed."""


class NumberedBatches(Dataset[Any]):
    """Makes batches of samples, each with generators seeded for it alone.

    Args:
        source: of the samples.
        seed: of what samples and batches draw; several numbers.
        desks: where workers note which sample they are at.
    """

    def __init__(self, source: Source, seed: Sequence[int], desks: Desks) -> None:
        self._dataset, self._collate = source.dataset, source.collate
        self._seed, self._desks = tuple(seed), desks

    def __getitems__(self, keys: Sequence[Key]) -> Any:
        """Make a batch, or a failure that says why there is none.

        Args:
            keys: of its samples, in order.
        """
        with as_in_a_worker() if get_worker_info() is None else nullcontext():
            try:
                samples = []
                for epoch, number in keys:
                    if self._desks.closed:
                        return None
                    self._desks.note(number)
                    seed_generators(*self._seed, epoch, number)
                    samples.append(self._dataset[number])
            except (Exception, SystemExit) as error:
                return Failure(described([number]), error)
            try:
                # A batch may draw, too, to mix its samples.
                seed_generators(*self._seed, *keys[0], 1)
                return self._collate(samples)
            except (Exception, SystemExit) as error:
                return Failure(described([number for _, number in keys]), error, " make no batch")
            finally:
                self._desks.note()


class NumberedStream(Stream):
    """A rank's batches of numbered samples, without end, in an order of every epoch's own.

    Args:
        source: of the samples.
        loading: by how many workers.
        rank: of this worker.
        world_size: number of workers; they take turns where they share the data.
        seed: of the order, and of what samples draw.

    Raises:
        GraftworkError: there is no sample.
    """

    def __init__(self, source: Source, loading: Loading, *, rank: int, world_size: int, seed: int) -> None:
        super().__init__()
        if not len(source.dataset):
            raise GraftworkError("the training data are empty: a dataset must have a sample at least")
        self._source, self._loading = source, loading
        # What nobody else has, nobody else's order is for.
        self._seed = [seed] if source.shared else [seed, rank]
        self._place = rank * source.batch_size if source.shared else 0
        self._stride = source.batch_size * (world_size if source.shared else 1)
        self._order = EndlessOrder(len(source.dataset), self._seed, shuffle=source.shuffle)
        self._batches: WorkerBatches | None = None
        self.position = 0
        self.shared, self.samples = source.shared, source.batch_size
        self.per_epoch = Fraction(len(source.dataset), self._stride)
        self.inexact = why_inexact(source.dataset)

    def __next__(self) -> Any:
        """The next batch."""
        if self._batches is None:
            desks = Desks(self._loading.workers or self._source.workers)
            made = NumberedBatches(self._source, self._seed, desks)
            self._batches = WorkerBatches(
                made, self._source, "the training data", desks, self._loading, self._keys()
            )
        batch = next(self._batches)
        # Counted here: workers are ahead.
        self.position += self._stride
        return batch

    def state(self) -> dict[str, Any]:
        """How many samples all ranks have taken."""
        return {"position": self.position}

    def restore(self, state: Mapping[str, Any]) -> bool:
        """Go on after so many."""
        self.position = int(state.get("position", 0))
        return "position" in state

    def skip(self, count: int) -> None:
        """Pass over batches without making them."""
        self.position += count * self._stride

    def taken(self, drawn: int) -> Fraction:
        """By the samples that all ranks have taken."""
        return Fraction(self.position, self._stride)

    def close(self) -> None:
        """End the workers."""
        if self._batches is not None:
            self._batches.close()

    def _keys(self) -> Iterator[list[Key]]:
        size, count = self._source.batch_size, self._order.count
        for first in itertools.count(self.position + self._place, self._stride):
            rows = self._order.rows(first, size).tolist()
            yield [((first + offset) // count, row) for offset, row in enumerate(rows)]


def numbered_once(source: Source, loading: Loading, data: str, wanted: Iterable[int]) -> Iterator[Any]:
    """Batches of samples in their own order, each once.

    Args:
        source: of the samples.
        loading: by how many workers.
        data: what they are, in words.
        wanted: numbers of batches.
    """
    size, count = source.batch_size, len(source.dataset)
    keys = [[(0, row) for row in range(n * size, min((n + 1) * size, count))] for n in wanted]
    desks = Desks(min(loading.workers or source.workers, len(keys)))
    batches = WorkerBatches(NumberedBatches(source, [0], desks), source, data, desks, loading, keys)
    try:
        yield from batches
    finally:
        batches.close()
