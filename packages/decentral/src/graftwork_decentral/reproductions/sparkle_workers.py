"""Independent runs in worker processes, or one after the other in this one: the same results either way.

Every run has one thread and names its path of mixing, so that no bit depends on how many others there are.
What goes to a worker and back is plain data: seeds and names, not tensors.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


class InThisProcess(Executor):
    """Runs what is submitted at once.

    >>> InThisProcess().submit(pow, 2, 5).result()
    32
    """

    def submit(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        done: Future[R] = Future()
        done.set_result(function(*args, **kwargs))
        return done


@contextmanager
def workers_pool(workers: int | None) -> Iterator[Executor]:
    """Give what runs are submitted to; those that wait are dropped where the block fails.

    Args:
        workers: how many processes; none for one a core, 1 for this process alone.

    Raises:
        ValueError: there are fewer than 1.

    >>> with workers_pool(1) as pool:
    ...     pool.submit(torch.get_num_threads).result()
    1
    """
    count = (os.cpu_count() or 1) if workers is None else workers
    if count < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if count == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield InThisProcess()
        finally:
            torch.set_num_threads(threads)
        return
    # Not forked: a process with torch's threads cannot be.
    pool = ProcessPoolExecutor(
        count, multiprocessing.get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    )
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
