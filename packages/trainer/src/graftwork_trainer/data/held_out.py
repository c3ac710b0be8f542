"""Held-out data: batches once and in order, dealt out to the ranks that evaluate."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

from torch.utils.data import DataLoader

from graftwork_trainer.data.given import ForeignLoader
from graftwork_trainer.data.iterated import iterated_once
from graftwork_trainer.data.numbered import numbered_once
from graftwork_trainer.data.seeding import drawing_alike
from graftwork_trainer.data.source import Source, has_dataset, source_of_loader, source_of_task
from graftwork_trainer.data.workers import Loading
from graftwork_trainer.parallel import World


def own_batches(task: Any, split: Any, world: World, loading: Loading) -> Iterator[tuple[int | None, Any]]:
    """Every ``world.size``-th batch with its number.

    A DataLoader that shuffles is read as it is: the numbers are of its own order.

    Under FSDP all ranks must run the model equally often: one that is left without a batch in the last round
    gets another's, without a number.

    Args:
        task: gives a dataset, a DataLoader or any other batches.
        split: of its data.
        world: whose ranks share them.
        loading: of samples.
    """
    source: Source | None
    if has_dataset(task):
        source, batches = source_of_task(task, split), None
    else:
        with drawing_alike(0):
            batches = task.batches(split, rank=0, world_size=1, seed=0)
        source = source_of_loader(batches)
    data = f"the {split} data"
    if source is None or (source.shuffle and batches is not None and not source.is_iterable):
        if isinstance(batches, DataLoader):
            loader = ForeignLoader(batches, data)
            with closing(loader):
                yield from _turns(loader.epoch(), world)
        else:
            yield from _sequence(batches, world) if isinstance(batches, Sequence) else _turns(batches, world)
    elif source.is_iterable:
        yield from _turns(iterated_once(source, loading, data), world)
    else:
        count, odd = divmod(len(source.dataset), source.batch_size)
        own = list(_numbers(count + (odd > 0 and not source.drop_last), world))
        loaded = numbered_once(source, loading, data, [number for _, number in own])
        yield from zip((number for number, _ in own), loaded, strict=True)


def _numbers(count: int, world: World) -> Iterator[tuple[int | None, int]]:
    """The numbers of this rank's batches, each twice; the first is None where it is another rank's."""
    for first in range(0, count, world.size):
        number = first + world.rank
        if number < count:
            yield number, number
        elif world.strategy == "fsdp":
            yield None, first


def _sequence(batches: Sequence[Any], world: World) -> Iterator[tuple[int | None, Any]]:
    for told, number in _numbers(len(batches), world):
        yield told, batches[number]


def _turns(batches: Any, world: World) -> Iterator[tuple[int | None, Any]]:
    stream = iter(batches)
    for first in itertools.count(0, world.size):
        together = list(itertools.islice(stream, world.size))
        if world.rank < len(together):
            yield first + world.rank, together[world.rank]
        elif world.strategy == "fsdp" and together:
            yield None, together[0]
        if len(together) < world.size:
            return
