"""From what a task gives, a dataset or batches, to the stream that a worker trains on."""

from __future__ import annotations

from torch.utils.data import DataLoader

from graftwork import GraftworkError, Task
from graftwork_trainer.data.given import ForeignLoader, GivenStream
from graftwork_trainer.data.iterated import IteratedStream
from graftwork_trainer.data.numbered import NumberedStream
from graftwork_trainer.data.seeding import drawing_alike
from graftwork_trainer.data.source import has_dataset, source_of_loader, source_of_task
from graftwork_trainer.data.stream import Stream
from graftwork_trainer.data.workers import Loading


def open_stream(task: Task, loading: Loading, *, rank: int, world_size: int, seed: int) -> Stream:
    """A worker's training data, at their beginning.

    Args:
        task: gives a dataset, a DataLoader or any other batches.
        loading: of samples.
        rank: of the worker.
        world_size: number of workers.
        seed: of the order, and of what samples draw.

    Raises:
        GraftworkError: what it gives does not fit the contract, or is empty.
    """
    if has_dataset(task):
        source = source_of_task(task, "train")
    else:
        with drawing_alike(rank):
            batches = task.batches("train", rank=rank, world_size=world_size, seed=seed)
        taken_apart = source_of_loader(batches)
        if taken_apart is None:
            if not (hasattr(batches, "__iter__") or hasattr(batches, "__getitem__")):
                raise GraftworkError(
                    f"batches('train', ...) of {type(task).__name__} must give batches to iterate over, got "
                    f"{type(batches).__name__}"
                )
            given = ForeignLoader(batches) if isinstance(batches, DataLoader) else batches
            return GivenStream(given, world_size=world_size)
        source = taken_apart
    kind = IteratedStream if source.is_iterable else NumberedStream
    return kind(source, loading, rank=rank, world_size=world_size, seed=seed)
