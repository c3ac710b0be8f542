"""Batches that a task makes itself: whatever it gives, from where a resumed run left off."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import torch
from torch.utils.data import DataLoader

from graftwork import GraftworkError
from graftwork_trainer.data.stream import Stream
from graftwork_trainer.data.workers import Desks, WorkerStart, no_death_in_between, told_of_worker
from graftwork_trainer.random_state import RandomState

_WATCHED = 3
"""Batches during which the global generators are watched: later it costs nothing."""


class ForeignLoader:
    """A torch DataLoader with an order of its own, epoch after epoch.

    Args:
        loader: to read as it is.
        data: that it loads, in words.
    """

    def __init__(self, loader: DataLoader[Any], data: str = "the training data") -> None:
        # Another's stays as it was given; workers are to heed the signals of a training as its own do.
        self._loader, self._data = copy.copy(loader), data
        self._batches: Any = None
        if count := loader.num_workers:
            self._loader.worker_init_fn = WorkerStart(Desks(count), loader.worker_init_fn, loader.dataset)

    def __iter__(self) -> Iterator[Any]:
        """Its batches without end.

        Raises:
            GraftworkError: an epoch has none.
        """
        loader: Any = self._loader
        for epoch in itertools.count():
            for part in (loader.sampler, loader.batch_sampler, loader.dataset):
                if hasattr(part, "set_epoch"):
                    part.set_epoch(epoch)
            empty = True
            for batch in self.epoch():
                empty = False
                yield batch
            if empty:
                raise GraftworkError(f"epoch {epoch} of {self._data}'s DataLoader has no batch")

    def epoch(self) -> Iterator[Any]:
        """Its batches once.

        Raises:
            GraftworkError: a worker died or failed.
        """
        with no_death_in_between():
            self._batches = iter(self._loader)
        while True:
            try:
                batch = next(self._batches)
            except StopIteration:
                return
            except Exception as error:
                self.close()
                told = told_of_worker(error, self._data)
                if told is None:
                    raise
                raise GraftworkError(told) from error
            yield batch

    def close(self) -> None:
        """End its workers."""
        if hasattr(self._batches, "_shutdown_workers"):
            self._batches._shutdown_workers()

    @property
    def per_epoch(self) -> Fraction | None:
        """Batches in an epoch; None where the loader does not say."""
        try:
            return Fraction(len(self._loader))
        except TypeError:  # of a dataset or a sampler without a length
            return None

    @property
    def why_inexact(self) -> str:
        """Why a resumed run may meet other batches."""
        loader = self._loader
        own = loader.sampler if loader.batch_sampler is None or loader.batch_size else loader.batch_sampler
        order = type(own if type(loader) is DataLoader else loader).__name__
        return (
            f"its batches come from a DataLoader in the order of its {order}, which does not follow from "
            "trainer.seed"
        )


class GivenStream(Stream):
    """A task's own batches.

    With ``position`` and ``seek`` they know how many samples all workers have taken; with ``skip`` they pass
    over batches without making them; otherwise those are made again and let go.

    Args:
        batches: of the task, for one of the workers.
        world_size: number of workers.
    """

    def __init__(self, batches: Iterable[Any], *, world_size: int) -> None:
        super().__init__()
        self._batches = batches
        self._drawn: Iterator[Any] | None = None
        self._watched = 0
        if isinstance(batches, ForeignLoader):
            self.inexact = batches.why_inexact
            self._watched = _WATCHED  # it draws, and inexact says so
        self._seeks = hasattr(batches, "seek") and hasattr(batches, "position")
        # A stream that is told of no other workers goes through data of its own.
        self.shared = self._seeks and getattr(batches, "world_size", world_size) == world_size
        self._stride = getattr(batches, "stride", None) if self._seeks else None
        if self._stride and hasattr(batches, "epoch_samples"):
            self.per_epoch = Fraction(int(batches.epoch_samples), int(self._stride))
        elif isinstance(batches, ForeignLoader):
            self.per_epoch = batches.per_epoch

    def __next__(self) -> Any:
        """The next batch.

        Raises:
            GraftworkError: there is none.
        """
        if self._drawn is None:
            self._drawn = iter(self._batches)
        if self._watched < _WATCHED:
            return self._watch(self._drawn)
        return _next(self._drawn)

    def state(self) -> dict[str, Any]:
        """How many samples all workers have taken, where it knows."""
        return {"position": int(self._batches.position)} if self._seeks else {}  # type: ignore[attr-defined]

    def taken(self, drawn: int) -> Fraction:
        """By the samples that all workers have taken, where it knows."""
        if not self._stride:
            return Fraction(drawn)
        return Fraction(int(self._batches.position), int(self._stride))  # type: ignore[attr-defined]

    def close(self) -> None:
        """End the workers of a DataLoader."""
        if isinstance(self._batches, ForeignLoader):
            self._batches.close()

    def restore(self, state: Mapping[str, Any]) -> bool:
        """Go on after so many samples, where it can."""
        if not self._seeks or "position" not in state:
            return False
        self._batches.seek(state["position"])  # type: ignore[attr-defined]
        return True

    def skip(self, count: int) -> None:
        """Pass over batches in the cheapest way it has."""
        if hasattr(self._batches, "skip"):
            # In place, or by another stream, as that of a library of data sets.
            skipped = self._batches.skip(count)
            self._batches = self._batches if skipped is None else skipped
            return
        self._drawn = iter(self._batches)
        for _ in itertools.islice(self._drawn, count):
            pass

    def _watch(self, batches: Iterator[Any]) -> Any:
        """Draw one, and say so where the global generators changed."""
        before = RandomState.capture(torch.device("cpu"))
        batch = _next(batches)
        self._watched += 1
        if not before.is_like(RandomState.capture(torch.device("cpu"))):
            self._watched = _WATCHED
            self.remarks.append(
                "the task's training batches draw from a global generator of random numbers, so that they "
                "depend on all else that draws; give them a generator of their own, made from the seed, or "
                "give the task a dataset, whose samples are seeded one by one"
            )
        return batch


def _next(batches: Iterator[Any]) -> Any:
    try:
        return next(batches)
    except StopIteration:
        raise GraftworkError(
            "the task's training batches ended; batches('train', ...) must go on without end"
        ) from None
