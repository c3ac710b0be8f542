"""Worker processes that load samples: torch's own, watched, and ended when they are to end.

One that dies or hangs ends the training with a sentence that names the sample it was at. Signals that ask a
training to save and stop reach its workers too, and are not theirs to heed.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from types import TracebackType
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from graftwork import GraftworkError
from graftwork.plugin_code import said_by
from graftwork_trainer.data.failures import Failure
from graftwork_trainer.data.source import Source
from graftwork_trainer.roll_call import exchange_seconds

# How soon a worker's death is noticed.
_LOOKS_EVERY_SECONDS = 0.5
_IDLE = -1
_WORDS_BYTES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """How samples are loaded.

    Args:
        workers: processes that load them; 0 for what the data say, and for this process where they say
            nothing.
        timeout_seconds: after how long a worker that does not answer ends the training.
        pin_memory: put batches where a GPU fetches them from faster.
    """

    workers: int = 0
    timeout_seconds: float = 600.0
    pin_memory: bool = False

    @property
    def patience_seconds(self) -> float:
        """How long a batch is waited for: processes that wait for this one are not to give up first."""
        return 0.9 * exchange_seconds(self.timeout_seconds)


class Desks:
    """Where each worker notes who it is and which sample it is at, for when it does not answer.

    Args:
        count: of the workers; 0 for none, where this process does the work.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pids = _shared(torch.zeros(count, dtype=torch.int64))
        self._samples = _shared(torch.full((count,), _IDLE, dtype=torch.int64))
        self._words = _shared(torch.zeros(count, _WORDS_BYTES, dtype=torch.uint8))
        self._closed = _shared(torch.zeros((), dtype=torch.bool))

    def arrive(self) -> None:
        """Note that this process is a worker."""
        if (worker := get_worker_info()) is not None:
            self._pids[worker.id] = os.getpid()

    def note(self, sample: int = _IDLE) -> None:
        """Note that this worker is at a sample, or at none."""
        if self.count and (worker := get_worker_info()) is not None:
            self._samples[worker.id] = sample

    def sample_of(self, worker: int) -> int | None:
        """Which sample a worker is at; None where it is at none."""
        sample = int(self._samples[worker])
        return None if sample == _IDLE else sample

    def leave(self, words: str) -> None:
        """End this worker, and say why."""
        if (worker := get_worker_info()) is not None:
            said = words.encode()[:_WORDS_BYTES]
            self._words[worker.id, : len(said)] = torch.frombuffer(bytearray(said), dtype=torch.uint8)
        os._exit(1)

    def words_of(self, worker: int) -> str:
        """Why a worker left; empty where it did not say."""
        return bytes(self._words[worker].tolist()).rstrip(b"\0").decode(errors="replace")

    def worker_of(self, process: BaseProcess) -> int:
        """The number of a worker's process."""
        pids: list[int | None] = self._pids.tolist()
        return pids.index(process.pid)

    def close(self) -> None:
        """Nobody wants what is still worked at."""
        self._closed.fill_(True)

    @property
    def closed(self) -> bool:
        """Whether a batch that is begun need not be made to its end."""
        return bool(self.count and self._closed)


class WorkerBatches(Iterator[Any]):
    """What a dataset makes, by worker processes or in this one, in the order that was asked for.

    Args:
        dataset: makes batches, or failures in the place of batches.
        source: how workers begin.
        data: what they are, in words.
        desks: where workers note which sample they are at.
        loading: how long to wait, and whether to pin.
        keys: what to ask a map-style dataset for, batch by batch; None for an iterable one.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        source: Source,
        data: str,
        desks: Desks,
        loading: Loading,
        keys: Iterable[Sequence[tuple[int, int]]] | None = None,
    ) -> None:
        self._data, self._desks, self._loading = data, desks, loading
        several: dict[str, Any] = {}
        if desks.count:
            several = {
                "timeout": _LOOKS_EVERY_SECONDS,
                "prefetch_factor": source.prefetch,
                "multiprocessing_context": source.context,
                "worker_init_fn": WorkerStart(desks, source.worker_init, source.dataset),
            }
        loader = DataLoader(
            dataset,
            batch_size=None if keys is None else 1,
            batch_sampler=keys,  # type: ignore[arg-type]
            num_workers=desks.count,
            collate_fn=_as_it_is,
            pin_memory=loading.pin_memory,
            generator=torch.Generator(),  # otherwise it draws from the global one
            **several,
        )
        before = set(multiprocessing.active_children())
        with no_death_in_between():
            self._batches = iter(loader)
        self._workers = list(set(multiprocessing.active_children()) - before)
        self._watch = Watch(self._workers, loading.patience_seconds)
        _open.add(self)

    def __next__(self) -> Any:
        """The next batch.

        Raises:
            GraftworkError: a sample cannot be made, or a worker died or does not answer.
        """
        while True:
            try:
                with self._watch:
                    batch = next(self._batches)
            except StopIteration:
                raise
            except Exception as error:  # of workers; what samples raise is a Failure
                if str(error).startswith("DataLoader timed out") and self._told_of_lost() is None:
                    continue
                if isinstance(error, OSError | EOFError):
                    # What a batch was to be handed over by is closed, a moment before the worker has ended.
                    for ending in wait([worker.sentinel for worker in self._workers], _LOOKS_EVERY_SECONDS):
                        next(one for one in self._workers if one.sentinel == ending).join(
                            _LOOKS_EVERY_SECONDS
                        )
                told = self._told_of_lost() or told_of_worker(error, self._data)
                self.close()
                if told is None:
                    raise
                raise GraftworkError(told) from error
            if isinstance(batch, Failure):
                self.close()
                batch.raise_in(self._data)
            return batch

    def close(self) -> None:
        """End the workers."""
        self._desks.close()
        self._watch.close()
        if hasattr(self._batches, "_shutdown_workers"):
            # What its deletion does, which would come late: a traceback may hold it.
            self._batches._shutdown_workers()
        # It asks those that do not end by themselves with SIGTERM, which does not reach a stopped one.
        for worker in self._workers:
            worker.kill()
            worker.join()
        self._workers = []

    def __del__(self) -> None:
        # Maybe amid other garbage, where nothing can be waited for.
        if hasattr(self, "_watch"):
            self._watch.close()
            for worker in self._workers:
                worker.kill()

    def _told_of_lost(self) -> str | None:
        """What is said of a worker that has ended, or had to be; None where all live."""
        dead = [worker for worker in self._workers if not worker.is_alive()]
        if not dead:
            return None
        # One that ended as it should is not what went wrong where another did not.
        ended = max(dead, key=lambda worker: worker.exitcode != 0)
        if self._watch.waited is not None:  # all were ended; the one that did not answer is at a sample
            busy = [n for n in range(self._desks.count) if self._desks.sample_of(n) is not None]
            number = busy[0] if busy else 0
            return (
                f"worker process {number} has not answered for {self._watch.waited:.0f} seconds "
                f"{self._place(number)}; if that is how long it takes, set a longer trainer.timeout_seconds"
            )
        code = ended.exitcode or 0
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        advice = {
            -signal.SIGBUS: "; where /dev/shm is full, give it more room or take fewer trainer.workers",
            -signal.SIGKILL: "; where memory has run out, take fewer trainer.workers",
        }
        number = self._desks.worker_of(ended)
        if words := self._desks.words_of(number):
            return f"worker process {number} cannot hand over a batch of {self._data}: {words}"
        return f"worker process {number} {how} {self._place(number)}{advice.get(code, '')}"

    def _place(self, worker: int) -> str:
        sample = self._desks.sample_of(worker)
        if sample is None:
            return f"between two samples of {self._data}"
        return f"while it loaded sample {sample} of {self._data}"


class Watch(threading.Thread):
    """Ends workers when a batch was waited for too long; whatever waits for one of them then fails.

    A batch that is there may need its worker still, to hand over the memory that it lies in.

    Args:
        workers: to end.
        patience_seconds: how long a batch may be waited for.

    Attributes:
        waited: seconds after which the workers were ended; None where they were not.
    """

    def __init__(self, workers: Sequence[BaseProcess], patience_seconds: float) -> None:
        super().__init__(daemon=True)
        self._workers, self._patience_seconds = workers, patience_seconds
        self._since: float | None = None
        self._closed = threading.Event()
        self.waited: float | None = None
        if workers:
            self.start()

    def __enter__(self) -> None:
        if self._since is None:
            self._since = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self._since = None

    def close(self) -> None:
        """Watch no longer."""
        self._closed.set()

    def run(self) -> None:
        """Look now and then."""
        while not self._closed.wait(min(1.0, self._patience_seconds / 4)):
            since = self._since
            if since is not None and (waited := time.monotonic() - since) > self._patience_seconds:
                self.waited = waited
                for worker in self._workers:
                    worker.kill()
                return


class WorkerStart:
    """What a worker does first.

    Args:
        desks: where it says who it is.
        init: what the data have it do besides, if anything.
        dataset: that this is to find.
    """

    def __init__(self, desks: Desks, init: Callable[[int], None] | None, dataset: Any) -> None:
        self._desks, self._init, self._dataset = desks, init, dataset

    def __call__(self, number: int) -> None:
        """Begin.

        Args:
            number: of the worker.
        """
        for wish in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(wish, signal.SIG_IGN)
        threading.Thread(target=_end_with_the_parent, daemon=True).start()
        self._desks.arrive()
        # Otherwise what cannot be sent is let go, and waited for.
        Queue._on_queue_feeder_error = staticmethod(self._leave)  # type: ignore[attr-defined]
        if self._init is not None:
            # Where it looks for the dataset; the class is frozen.
            object.__setattr__(get_worker_info(), "dataset", self._dataset)
            self._init(number)

    def _leave(self, error: Exception, _unsent: Any) -> None:
        self._desks.leave(f"{type(error).__name__}: {said_by(error)}")


def told_of_worker(error: Exception, data: str) -> str | None:
    """What is said of an error that torch brought here from a worker, or of a worker's death; None of others.

    Args:
        error: of torch's DataLoader.
        data: that it loads, in words.
    """
    lines = [line for line in said_by(error).splitlines() if line.strip()] or [""]
    if lines[0].startswith("Caught "):
        return f"a worker process of {data} failed: {lines[-1].strip()}"
    return f"{data}: {lines[0]}" if lines[0].startswith(("DataLoader worker", "DataLoader timed")) else None


def _end_with_the_parent() -> None:
    """End this worker when the training is gone, in the middle of a sample too."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _shared(tensor: torch.Tensor) -> torch.Tensor:
    tensor.share_memory_()  # type: ignore[no-untyped-call]
    return tensor


def _as_it_is(batch: Any) -> Any:
    return batch


@contextmanager
def no_death_in_between() -> Iterator[None]:
    """Undo what torch does for a worker's death to be an exception, in whatever the training is at then.

    It is noticed where a batch is waited for, which is where it means something.
    """
    if threading.current_thread() is not threading.main_thread():  # there torch does not do it
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGCHLD, before)


_open: weakref.WeakSet[WorkerBatches] = weakref.WeakSet()


@atexit.register  # after that of multiprocessing, so that it runs before: that one waits for every child
def _close_all() -> None:
    for batches in list(_open):
        batches.close()
