"""Which processes still answer: asked when an exchange between them has failed.

Gloo says that time ran out or that a connection was closed, and not by whose fault: a neighbour may itself
have waited for another. So every process answers from a thread of its own, whatever else it is at, and only
one that is stopped, dead or cut off stays silent. They talk through the store by which they found each other,
which under torchrun is the launcher's and outlives them.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TypeVar

import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from graftwork import GraftworkError
from graftwork.plugin_code import said_by

T = TypeVar("T")

_LOOKS_EVERY_SECONDS = 0.5
_ANSWERS_WITHIN_SECONDS = 2.0
_WHERE = ("MASTER_ADDR", "MASTER_PORT", "RANK")
_trainings = itertools.count()
# As gloo words it, in errors that have no type of their own.
_TRANSPORT = (
    "Timed out waiting",
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "pair closure",
)


def exchange_seconds(timeout_seconds: float) -> float:
    """How long one exchange may take, so that who is lost has been named, and all have ended, in time.

    >>> exchange_seconds(600.0), exchange_seconds(4.0)
    (595.0, 2.0)
    """
    return timeout_seconds - min(5.0, timeout_seconds / 2)


class LostRanksError(GraftworkError):
    """Processes do not answer, so that the others cannot go on.

    Args:
        ranks: that do not, ascending; none where all answer, and one was only slow.
        message: for people.
    """

    def __init__(self, ranks: Sequence[int], message: str) -> None:
        super().__init__(message)
        self.ranks = tuple(ranks)


class RollCall:
    """One process's part in it.

    Args:
        store: shared by all.
        rank: of this process.
        size: how many there are.
        timeout_seconds: of every exchange between them.
    """

    def __init__(self, store: Store, rank: int, size: int, timeout_seconds: float) -> None:
        self.rank, self.size, self.timeout_seconds = rank, size, timeout_seconds
        # A connection of its own: another thread may wait on that of the process group.
        self._store = PrefixStore("graftwork/roll-call", store.clone())
        self._reachable = True
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._store.set(f"name/{rank}", f"process {os.getpid()} on {socket.gethostname()}")
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._closed.set()
        self._thread.join(_LOOKS_EVERY_SECONDS)  # at once, unless the store keeps it waiting

    def silent(self) -> list[int]:
        """The ranks that do not answer, as the first to ask has found."""
        try:
            return _bounded(self._ask, _ANSWERS_WITHIN_SECONDS + _LOOKS_EVERY_SECONDS)
        except (RuntimeError, TimeoutError):
            self._reachable = False
            return [0]  # whose launcher, or which itself, keeps the store

    def lost(self, cause: str) -> LostRanksError:
        """What to raise.

        Args:
            cause: what the transport said.
        """
        silent = self.silent()
        if not silent:
            return LostRanksError(
                (),
                f"all {self.size} ranks answer, and one kept another waiting for longer than "
                f"trainer.timeout_seconds = {self.timeout_seconds:g}; raise it, if a step, an evaluation or "
                f"a checkpoint may take that long ({cause})",
            )
        names = [self._name(rank) for rank in silent]
        ranks = f"rank{'s' if len(silent) > 1 else ''} {', '.join(map(str, silent))} of {self.size}"
        verb = "do" if len(silent) > 1 else "does"
        return LostRanksError(silent, f"{ranks} ({'; '.join(names)}) {verb} not answer ({cause})")

    def _answer(self) -> None:
        with suppress(RuntimeError):  # the store is gone, and with it whoever would ask
            while not self._closed.wait(_LOOKS_EVERY_SECONDS):
                if self._store.check(["called"]):
                    self._store.set(f"here/{self.rank}", "1")
                    return

    def _ask(self) -> list[int]:
        if not self._store.check(["silent"]):
            self._store.set("called", "1")
            self._store.set(f"here/{self.rank}", "1")
            deadline = time.monotonic() + _ANSWERS_WITHIN_SECONDS
            while (silent := self._absent()) and time.monotonic() < deadline:
                time.sleep(0.05)
            # Those who give up are silent from then on: the first to ask knows whose fault it was.
            self._store.compare_set("silent", "", json.dumps(silent))
        return list(json.loads(self._store.get("silent")))

    def _absent(self) -> list[int]:
        return [rank for rank in range(self.size) if not self._store.check([f"here/{rank}"])]

    def _name(self, rank: int) -> str:
        key = f"name/{rank}"
        with suppress(RuntimeError, TimeoutError):
            if self._reachable:
                known = _bounded(lambda: self._store.get(key) if self._store.check([key]) else b"", 1.0)
                return known.decode() or "which never came"
        return "which keeps the store"


@contextmanager
def lost_ranks_named(roll_call: RollCall | None, go_on: str = "") -> Iterator[None]:
    """Have an error of the transport say which ranks do not answer.

    Args:
        roll_call: None where there is one process.
        go_on: how to, said behind.

    Raises:
        LostRanksError: for such an error.
    """
    try:
        yield
    except Exception as error:
        cause = _transport_error(error)
        if roll_call is None or cause is None:
            raise
        lost = roll_call.lost(cause)
        raise LostRanksError(lost.ranks, f"{lost}{go_on}") from error


def connected_store(timeout_seconds: float) -> Store:
    """Return the store by which processes find each other: torchrun's, or one that rank 0 keeps.

    Raises:
        GraftworkError: it does not answer, or the environment does not say where it is.
    """
    if missing := [name for name in _WHERE if name not in os.environ]:
        raise GraftworkError(
            f"WORLD_SIZE = {os.environ['WORLD_SIZE']} says that there are several processes, and what says "
            f"where they meet is not set: {', '.join(missing)}; start them with torchrun, or unset WORLD_SIZE"
        )
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    kept_by_launcher = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    try:
        store = TCPStore(
            host,
            port,
            is_master=not kept_by_launcher and os.environ["RANK"] == "0",
            timeout=timedelta(seconds=timeout_seconds),
            wait_for_workers=False,
        )
    except RuntimeError as error:
        raise GraftworkError(
            f"rank 0, which keeps the store at {host}:{port} (MASTER_ADDR, MASTER_PORT), did not answer "
            f"within trainer.timeout_seconds = {timeout_seconds:g}; look at its output"
        ) from error
    # A launcher that starts all anew keeps its store, and so it does for the next training of a process.
    restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return PrefixStore(f"graftwork/{restart}/{next(_trainings)}", store)


def _transport_error(error: BaseException | None) -> str | None:
    """What the transport said, if it is at the bottom of an error that does not name a process by itself."""
    while error is not None:
        if isinstance(error, LostRanksError) or getattr(error, "processes", False):
            return None
        words = said_by(error)
        known = isinstance(error, RuntimeError) and any(part in words for part in _TRANSPORT)
        if known or isinstance(error, dist.DistError):
            said = words.splitlines()[0].partition("] ")
            return (said[2] or said[0]).partition(". ")[0].partition(", keys: ")[0]
        error = error.__cause__ or error.__context__
    return None


def _bounded(call: Callable[[], T], seconds: float) -> T:
    """Return what ``call`` does, waited for no longer than a time limit.

    A store whose host is stopped answers no more, and its client would wait for ever.

    Raises:
        TimeoutError: it takes longer.
    """
    outcome: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(call())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not outcome:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return outcome[0]
