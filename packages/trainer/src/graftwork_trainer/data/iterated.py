"""Iterable datasets: samples that come one after another, read by one process from its beginning.

Nobody can know how such a dataset would share itself out over several worker processes, so there is at most
one of them, and several ranks all read it and take turns with what it gives.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from fractions import Fraction
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from graftwork import GraftworkError
from graftwork_trainer.data.failures import Failure
from graftwork_trainer.data.own_generators import why_inexact
from graftwork_trainer.data.seeding import as_in_a_worker, seed_generators
from graftwork_trainer.data.source import Source
from graftwork_trainer.data.stream import Stream
from graftwork_trainer.data.workers import Desks, Loading, WorkerBatches

_BEGINNING: Mapping[str, Any] = {"epoch": 0, "taken": 0, "position": 0, "dataset": None}


class _EndedError(Exception):
    """There is no epoch after the first."""


class Reader:
    """Reads a dataset epoch after epoch, with generators seeded for each sample alone.

    Args:
        dataset: iterable; with ``state_dict`` and ``load_state_dict`` it finds its place itself, otherwise
            what was read before is read again and let go.
        seed: of what samples draw; several numbers.
        place: where to go on.
        desks: where a worker notes which sample it is at.
        endless: whether an epoch follows after the first.
    """

    def __init__(
        self, dataset: Any, seed: Sequence[int], place: Mapping[str, Any], desks: Desks, *, endless: bool
    ) -> None:
        self._dataset, self._seed, self._desks, self._endless = dataset, tuple(seed), desks, endless
        self.epoch, self.taken, self.position = (int(place[key]) for key in ("epoch", "taken", "position"))
        self._left = place["dataset"]
        self._samples: Iterator[Any] | None = None

    def read(self) -> Any:
        """The next sample, of the next epoch where one ends.

        Raises:
            GraftworkError: an epoch has no sample.
            _EndedError: the only epoch has ended.
        """
        while True:
            if self._samples is None:
                self._samples = self._begun()
            try:
                sample = self._next(self._samples, self.taken)
            except StopIteration:
                if not self._endless:
                    raise _EndedError from None
                if not self.taken:
                    raise GraftworkError(
                        "it has no sample; an iterable dataset must give its samples anew in every epoch"
                    ) from None
                self.epoch, self.taken, self._samples = self.epoch + 1, 0, None
                continue
            self.taken += 1
            self.position += 1
            return sample

    def place(self) -> dict[str, Any]:
        """Where it is, as it stays when reading goes on."""
        state = copy.deepcopy(self._dataset.state_dict()) if finds_its_place(self._dataset) else None
        return {"epoch": self.epoch, "taken": self.taken, "position": self.position, "dataset": state}

    def _begun(self) -> Iterator[Any]:
        seed_generators(*self._seed, self.epoch)
        if hasattr(self._dataset, "set_epoch"):
            self._dataset.set_epoch(self.epoch)
        if self._left is not None:
            self._dataset.load_state_dict(self._left)
            self._left = None
            samples: Iterator[Any] = iter(self._dataset)
            return samples
        samples = iter(self._dataset)
        for number in range(self.taken):
            self._next(samples, number)
        return samples

    def _next(self, samples: Iterator[Any], number: int) -> Any:
        self._desks.note(number)
        seed_generators(*self._seed, self.epoch, number)
        return next(samples)


class IteratedBatches(IterableDataset[Any]):
    """Makes a rank's batches, each with the place after it.

    Args:
        source: of the samples.
        seed: of what samples draw.
        place: where to go on.
        desks: where a worker notes which sample it is at.
        rank: whose turn is wanted.
        world_size: how many take turns.
        endless: whether an epoch follows after the first.
    """

    def __init__(
        self,
        source: Source,
        seed: Sequence[int],
        place: Mapping[str, Any],
        desks: Desks,
        *,
        rank: int = 0,
        world_size: int = 1,
        endless: bool = True,
    ) -> None:
        self._source, self._seed, self._desks = source, tuple(seed), desks
        self._place, self._rank, self._world_size, self._endless = place, rank, world_size, endless

    def __iter__(self) -> Iterator[Any]:
        """Batch after batch; a failure that says why there is none."""
        reader = Reader(self._source.dataset, self._seed, self._place, self._desks, endless=self._endless)
        while True:
            with as_in_a_worker() if get_worker_info() is None else nullcontext():
                made = self._turn(reader)
            if made is None:
                return
            yield made

    def _turn(self, reader: Reader) -> Any:
        """What all ranks take, of which one's is kept; None where nothing is left."""
        size = self._source.batch_size
        own: list[Any] = []
        for number in range(size * self._world_size):
            if self._desks.closed:
                return None
            try:
                sample = reader.read()
            except _EndedError:
                break
            except GraftworkError as error:
                return Failure(f"epoch {reader.epoch}", error)
            except (Exception, SystemExit) as error:
                return Failure(f"sample {reader.taken} in epoch {reader.epoch}", error)
            if number // size == self._rank:
                own.append(sample)
        if not own or (self._source.drop_last and len(own) < size):
            return None
        seed_generators(*self._seed, reader.epoch, reader.taken, 1)
        try:
            return self._source.collate(own), reader.place()
        except (Exception, SystemExit) as error:
            last = f"the {size} samples before number {reader.taken} in epoch {reader.epoch}"
            return Failure(last, error, " make no batch")
        finally:
            self._desks.note()


class IteratedStream(Stream):
    """A rank's batches of an iterable dataset, epoch after epoch.

    Args:
        source: of the samples.
        loading: by which process.
        rank: of this worker.
        world_size: number of workers.
        seed: of what samples draw.
    """

    def __init__(self, source: Source, loading: Loading, *, rank: int, world_size: int, seed: int) -> None:
        super().__init__()
        asked = loading.workers or source.workers
        self._source, self._loading, self._desks = source, loading, Desks(min(asked, 1))
        self._seed = [seed] if source.shared else [seed, rank]
        self._turn = (rank, world_size) if source.shared else (0, 1)
        self._place: Mapping[str, Any] = _BEGINNING
        self._passed_over = 0
        self._batches: WorkerBatches | None = None
        self.shared, self.samples = source.shared, source.batch_size
        self._stride = source.batch_size * self._turn[1]
        if hasattr(source.dataset, "__len__"):
            self.per_epoch = Fraction(len(source.dataset), self._stride)
        if not finds_its_place(source.dataset):
            self.inexact = why_inexact(source.dataset)
        if asked > 1:
            self.remarks.append(
                f"the training data are an iterable dataset, which one worker process reads, not {asked}"
            )

    def __next__(self) -> Any:
        """The next batch."""
        if self._batches is None:
            rank, size = self._turn
            made = IteratedBatches(
                self._source, self._seed, self._place, self._desks, rank=rank, world_size=size
            )
            self._batches = WorkerBatches(made, self._source, "the training data", self._desks, self._loading)
            for _ in itertools.repeat(None, self._passed_over):
                next(self._batches)
        batch, self._place = next(self._batches)
        return batch

    def state(self) -> dict[str, Any]:
        """Epoch, samples of it and in all that were taken by all ranks, and what the dataset says itself."""
        return dict(self._place)

    def restore(self, state: Mapping[str, Any]) -> bool:
        """Go on from there."""
        if not _BEGINNING.keys() <= state.keys():
            return False
        self._place = state
        if state["taken"] and state["dataset"] is None:
            self.remarks.append(
                f"the training data are an iterable dataset without state_dict: {state['taken']} samples are "
                "read again and passed over"
            )
        return True

    def skip(self, count: int) -> None:
        """Pass over batches, by making them."""
        self._passed_over += count

    def taken(self, drawn: int) -> Fraction:
        """By the samples that all ranks have taken."""
        return Fraction(int(self._place["position"]), self._stride) + self._passed_over

    def close(self) -> None:
        """End the worker."""
        if self._batches is not None:
            self._batches.close()


def iterated_once(source: Source, loading: Loading, data: str) -> Iterator[Any]:
    """Batches of an iterable dataset, once.

    Args:
        source: of the samples.
        loading: by which process.
        data: what they are, in words.
    """
    desks = Desks(min(loading.workers or source.workers, 1))
    made = IteratedBatches(source, [0], _BEGINNING, desks, endless=False)
    batches = WorkerBatches(made, source, data, desks, loading)
    try:
        for batch, _ in batches:
            yield batch
    finally:
        batches.close()


def finds_its_place(dataset: Any) -> bool:
    """Whether a dataset can say where it is, and go on from there."""
    return hasattr(dataset, "state_dict") and hasattr(dataset, "load_state_dict")
