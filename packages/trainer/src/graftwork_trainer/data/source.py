"""Where samples come from, and how they become batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    default_collate,
)

from graftwork import GraftworkError, Task
from graftwork.contracts import Split
from graftwork_trainer.data.seeding import drawing_alike


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A dataset, and what is done with its samples.

    Args:
        dataset: of torch's kind, map-style or iterable.
        batch_size: samples in a batch.
        collate: makes a batch of a list of samples.
        shuffle: whether every epoch has an order of its own; of map-style datasets.
        shared: whether all ranks have the same dataset and take turns, or each has its own.
        drop_last: whether a last batch that is not full is left out, where there is a last one.
        workers: processes that load samples, unless the trainer says how many.
        prefetch: batches that each of them is ahead.
        worker_init: called in each of them, with its number.
        context: how they are started.
    """

    dataset: Any
    batch_size: int
    collate: Callable[[list[Any]], Any] = default_collate
    shuffle: bool = True
    shared: bool = True
    drop_last: bool = False
    workers: int = 0
    prefetch: int = 2
    worker_init: Callable[[int], None] | None = None
    context: Any = None

    @property
    def is_iterable(self) -> bool:
        """Whether samples come one after another, and have no numbers."""
        return _is_iterable(self.dataset)


@dataclass(frozen=True, slots=True)
class OfOne:
    """Makes a batch of the one sample that it is already.

    Args:
        convert: what is done with it.
    """

    convert: Callable[[Any], Any]

    def __call__(self, samples: list[Any]) -> Any:
        """The batch."""
        return self.convert(samples[0])


def has_dataset(task: Task) -> bool:
    """Whether a task gives a dataset, rather than batches."""
    return callable(getattr(task, "dataset", None))


def source_of_task(task: Any, split: Split) -> Source:
    """What a task's ``dataset``, ``batch_size`` and ``collate`` say.

    Args:
        task: with a ``dataset``.
        split: of its data.

    Raises:
        GraftworkError: they do not fit the contract.
    """
    name = type(task).__name__
    with drawing_alike(0):
        dataset = task.dataset(split)
    size = getattr(task, "batch_size", None)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise GraftworkError(
            f"{name} has a dataset, so its batch_size must be a whole number, 1 or more, got {size!r}"
        )
    numbered = hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
    if isinstance(dataset, type) or not (
        numbered or (_is_iterable(dataset) and hasattr(dataset, "__iter__"))
    ):
        got = f"the class {dataset.__name__}" if isinstance(dataset, type) else type(dataset).__name__
        raise GraftworkError(
            f"dataset({split!r}) of {name} must give a torch dataset, with __len__ and __getitem__ or with "
            f"__iter__, got {got}"
        )
    return Source(
        dataset=dataset,
        batch_size=size,
        collate=getattr(task, "collate", default_collate),
    )


def source_of_loader(batches: Any) -> Source | None:
    """What a torch DataLoader is made of; None where its order is its own affair.

    An order that torch's samplers draw from a global generator is drawn from the seed instead.

    Args:
        batches: a DataLoader, or something else that gives batches.
    """
    if type(batches) is not DataLoader:
        return None
    sampler: Any = batches.sampler
    dataset: Any = batches.dataset
    # Without a batch_size, either the samples are batches, or a sampler of somebody's own makes some.
    ready = batches.batch_size is None and batches.batch_sampler is None
    if not _is_iterable(dataset) and not (
        (ready or (type(batches.batch_sampler) is BatchSampler and batches.batch_size))
        and _is_plain(sampler, len(dataset))
    ):
        return None
    prefetch = {} if batches.prefetch_factor is None else {"prefetch": batches.prefetch_factor}
    return Source(
        dataset=dataset,
        batch_size=batches.batch_size or 1,
        collate=OfOne(batches.collate_fn) if ready else batches.collate_fn,
        shuffle=not isinstance(sampler, SequentialSampler) and getattr(sampler, "shuffle", True),
        shared=isinstance(sampler, DistributedSampler),
        drop_last=batches.drop_last,
        workers=batches.num_workers,
        worker_init=batches.worker_init_fn,
        context=batches.multiprocessing_context,
        **prefetch,
    )


def _is_plain(sampler: Any, count: int) -> bool:
    """Whether a sampler gives each of so many numbers once an epoch, upwards or in any order."""
    if type(sampler) is RandomSampler:
        return not sampler.replacement and sampler.num_samples == len(sampler.data_source) == count
    if type(sampler) is SequentialSampler:
        return len(sampler) == count
    if type(sampler) is DistributedSampler:
        whole: Any = sampler.dataset
        return len(whole) == count
    return False


def _is_iterable(dataset: Any) -> bool:
    # Any dataset of torch's inherits a __getitem__, which refuses.
    return isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__")
