"""Who takes part, agreed on through a store: after a loss, and when a process comes back.

Membership goes in epochs. All communication of an epoch is one process group, whose first failure ends it:
whoever sees a failure closes its connections, which makes its neighbours fail in turn, and says in the store
that it is present for the next epoch. Who is not present is waited for as long as its heart beats. One
process (whoever comes first) then writes down who is in, and all read that.

A process that was started again finds that it has been here before, waits for an epoch to be opened, and is
taken in as one without a state. Every wait has a time limit.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar, cast

import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, ProcessGroupGloo, Store

from graftwork import GraftworkError
from graftwork_decentral.communication.store import ENDED, bounded

T = TypeVar("T")
_PAUSE = 0.02


@dataclass(frozen=True, slots=True)
class View:
    """Who takes part in an epoch.

    Args:
        epoch: its number.
        members: processes, ascending.
        joined: those of them that came without a state.
        lost: processes of the epoch before that are not in it any more.
        step: from which all go on.
    """

    epoch: int
    members: tuple[int, ...]
    joined: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()
    step: int = 0


class LostPeer(Exception):  # noqa: N818, as it never leaves this folder
    """A round could not be ended.

    Args:
        process: that did not answer, where it is known.
        cause: what the transport said.
    """

    def __init__(self, process: int | None, cause: str) -> None:
        super().__init__(cause)
        self.process = process
        self.cause = cause


class Membership:
    """One process's word in who takes part.

    Args:
        store: shared by all; on a host that outlives any of them.
        process: number of this one.
        processes: how many there are when all are.
        timeout_seconds: limit of every wait.
        silence_seconds: after how long without a heartbeat a process counts as dead.
        name: of what they are members of, when a store serves several.
    """

    def __init__(
        self,
        store: Store,
        process: int,
        processes: int,
        *,
        timeout_seconds: float = 60.0,
        silence_seconds: float = 5.0,
        name: str = "0",
    ) -> None:
        self.root = store
        self.store = PrefixStore(f"graftwork/membership/{name}", store)
        self.process, self.processes = process, processes
        self.timeout_seconds, self.silence_seconds = timeout_seconds, silence_seconds
        self._heard: dict[int, tuple[str, float]] = {}
        self._closed = threading.Event()
        self.starts = int(self._ask(lambda: self.store.add(f"starts/{process}", 1)))
        threading.Thread(target=self._beat, args=(store.clone(), name), daemon=True).start()

    @property
    def came_back(self) -> bool:
        """Whether a process of this number had started before."""
        return self.starts > 1

    def first(self, digest: str) -> View:
        """Return the epoch of the start, in which all processes are.

        Args:
            digest: of what all must have in common.

        Raises:
            GraftworkError: somebody did not come in time, or has something else.
        """
        self._set(f"start/{self.process}", digest)
        expected = range(self.processes)
        deadline = time.monotonic() + self.timeout_seconds
        while missing := [one for one in expected if not self._has(f"start/{one}")]:
            if time.monotonic() > deadline:
                raise GraftworkError(
                    f"processes {missing} of {self.processes} did not start within "
                    f"{self.timeout_seconds:g} s; look at their output, or raise faults.timeout_seconds"
                )
            time.sleep(_PAUSE)
        same_for_all(digest, [self._get(f"start/{one}") for one in expected])
        self._set("epoch", "0")
        return View(0, tuple(expected))

    def next(self, view: View, step: int) -> View:
        """Agree on the epoch after ``view``.

        Args:
            view: the epoch that has ended.
            step: that this process was at.

        Raises:
            GraftworkError: the others have gone on without this process, or the store is gone.
        """
        epoch = view.epoch + 1
        self._set(f"{epoch}/open", "1")
        self._present(epoch, {"step": step})
        return self._decided(epoch, view.members)

    def rejoin(self, digest: str) -> View:
        """Return the epoch that takes this process in again.

        Args:
            digest: of what all must have in common.

        Raises:
            GraftworkError: none did within the time limit, or the others have something else.
        """
        if self._has("start/0"):
            same_for_all(digest, [self._get("start/0")] * self.process + [digest])
        deadline = time.monotonic() + self.timeout_seconds
        self._set(f"asks/{self.process}", str(self.starts))
        while time.monotonic() < deadline:
            if self._has("finished"):
                raise GraftworkError(
                    f"process {self.process} came back when the others had finished; nothing is left to do"
                )
            epoch = int(self._get("epoch")) + 1 if self._has("epoch") else 0
            if epoch and self._has(f"{epoch}/open"):
                self._present(epoch, {"step": 0, "joins": True})
                view = self._decided(epoch, ())
                if self.process in view.joined:
                    return view
            time.sleep(_PAUSE)
        raise GraftworkError(
            f"process {self.process} came back, and nobody took it in within {self.timeout_seconds:g} s; "
            "the others look for returning processes every communicator.admit_every steps (lower it), and "
            "must run with faults.on_failure = 'continue'"
        )

    def asked(self, view: View) -> list[int]:
        """Return the processes outside an epoch that ask to be taken in."""
        outside = [one for one in range(self.processes) if one not in view.members]
        return [one for one in outside if self._has(f"asks/{one}") and self.beats(one)]

    def admits(self, view: View, step: int) -> bool:
        """Whether an epoch is to be ended before a step so that somebody can come in; all get one answer.

        Args:
            view: of now.
            step: that all are about to make.

        Raises:
            LostPeer: the one who decides is gone, or an epoch has been opened for another reason.
        """
        leader, key = view.members[0], f"{view.epoch}/admits/{step}"
        if self.process == leader:
            answer = "1" if self.asked(view) else ""
            self._set(key, answer or "0")
            return bool(answer)
        deadline = time.monotonic() + self.timeout_seconds
        while not self._has(key):
            if self._has(f"{view.epoch + 1}/open"):
                raise LostPeer(None, "another process has given the round up")
            if not self.beats(leader) or time.monotonic() > deadline:
                raise LostPeer(leader, f"process {leader} did not say whether somebody comes in")
            time.sleep(_PAUSE / 10)
        return self._get(key) == "1"

    def beats(self, process: int) -> bool:
        """Whether a process gives signs of life."""
        if process == self.process:
            return True
        starts = int(self._get(f"starts/{process}")) if self._has(f"starts/{process}") else 0
        ended = ENDED.format(process=process)
        seen = (
            self._ask(lambda: self.root.get(ended)) if self._ask(lambda: self.root.check([ended])) else b"0"
        )
        if 0 < starts <= int(seen.decode()):
            return False
        beat = self._get(f"beat/{process}") if self._has(f"beat/{process}") else ""
        known, since = self._heard.get(process, (None, 0.0))
        now = time.monotonic()
        if beat != known:
            self._heard[process] = (beat, now)
            return True
        return now - since < self.silence_seconds

    def established(self, view: View) -> None:
        """Say that the group of an epoch works."""
        self._set("epoch", str(view.epoch))
        for process in view.joined:
            self._ask(partial(self.store.delete_key, f"asks/{process}"))

    def group(self, view: View) -> dist.ProcessGroup:
        """Return a process group of an epoch's members, ranked by their order.

        Raises:
            LostPeer: one of them did not come.
        """
        store = PrefixStore(f"{view.epoch}/group", self.store)
        try:
            made = ProcessGroupGloo(
                store,
                view.members.index(self.process),
                len(view.members),
                timedelta(seconds=self.timeout_seconds),
            )
            # A back end alone has what is used of a group, and needs no place in the list of groups.
            return cast(dist.ProcessGroup, made)
        except (RuntimeError, dist.DistError) as error:
            raise LostPeer(
                None, f"the connections of epoch {view.epoch} could not be made: {error}"
            ) from error

    def finish(self) -> None:
        """Say that the work is done."""
        self._set("finished", "1")

    def close(self) -> None:
        """End the heartbeat."""
        self._closed.set()

    def _decided(self, epoch: int, members: Sequence[int]) -> View:
        deadline = time.monotonic() + self.timeout_seconds
        decision = f"{epoch}/members"
        while not self._has(decision):
            present = [one for one in range(self.processes) if self._has(f"{epoch}/present/{one}")]
            awaited = [one for one in (*members, *self._asking()) if one not in present and self.beats(one)]
            # One that joins knows of nobody who is missing, and leaves the decision to those who do.
            if members and (not awaited or time.monotonic() > deadline):
                self._decide(epoch, members, present)
            elif time.monotonic() > deadline + self.silence_seconds:
                raise GraftworkError(f"nobody decided who takes part in epoch {epoch}; start all again")
            else:
                time.sleep(_PAUSE)
        view = View(**{name: _hashable(value) for name, value in json.loads(self._get(decision)).items()})
        if members and self.process not in view.members:
            raise GraftworkError(
                f"the others have gone on without process {self.process}, which did not answer within "
                f"{self.silence_seconds:g} to {self.timeout_seconds:g} s; start it again to rejoin"
            )
        return view

    def _decide(self, epoch: int, members: Sequence[int], present: Collection[int]) -> None:
        words = {one: json.loads(self._get(f"{epoch}/present/{one}")) for one in present}
        view = {
            "epoch": epoch,
            "members": sorted(words),
            "joined": sorted(one for one, word in words.items() if word.get("joins")),
            "lost": sorted(one for one in members if one not in words or words[one].get("joins")),
            "step": max(word["step"] for word in words.values()),
        }
        self._ask(lambda: self.store.compare_set(f"{epoch}/members", "", json.dumps(view)))

    def _asking(self) -> list[int]:
        return [one for one in range(self.processes) if one != self.process and self._has(f"asks/{one}")]

    def _present(self, epoch: int, word: dict[str, Any]) -> None:
        self._set(f"{epoch}/present/{self.process}", json.dumps(word))

    def _beat(self, store: Store, name: str) -> None:
        own, count = PrefixStore(f"graftwork/membership/{name}", store), 0
        while not self._closed.wait(self.silence_seconds / 10):
            count += 1
            try:
                own.set(f"beat/{self.process}", f"{self.starts}.{count}")
            except (RuntimeError, dist.DistError):
                return

    def _set(self, key: str, value: str) -> None:
        self._ask(lambda: self.store.set(key, value))

    def _get(self, key: str) -> str:
        return self._ask(lambda: self.store.get(key)).decode()

    def _has(self, key: str) -> bool:
        return bool(self._ask(lambda: self.store.check([key])))

    def _ask(self, call: Callable[[], T]) -> T:
        try:
            return bounded(call, self.timeout_seconds)
        except (RuntimeError, TimeoutError, dist.DistError) as error:
            raise GraftworkError(
                f"process {self.process} lost the store through which processes agree ({error}): its host is "
                "gone or cut off; keep the store on a host that outlives the others "
                "(python -m graftwork_decentral.launch)"
            ) from error


def same_for_all(mine: str, all_of_them: Sequence[str]) -> None:
    """Refuse processes with different graphs, which would wait for each other for ever.

    Args:
        mine: what this process has.
        all_of_them: what each has.

    Raises:
        GraftworkError: two differ; every process raises it.
    """
    for process, theirs in enumerate(all_of_them):
        if theirs != all_of_them[0]:
            raise GraftworkError(
                f"processes disagree on the topology: process 0 has {all_of_them[0]!r} and process "
                f"{process} has {theirs!r} (name, agents, digest); give all of them one recipe"
            )


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
