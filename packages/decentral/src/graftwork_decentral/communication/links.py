"""Messages between the processes of one group, with a time limit, and the failures that they can have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch.distributed as dist
from torch import Tensor

from graftwork_decentral.communication.membership import LostPeer


@dataclass(frozen=True, slots=True)
class Message:
    """What one round exchanges with one other process.

    Args:
        process: the other one.
        leaving: to it, or none.
        landing: receives what it sends, or none.
    """

    process: int
    leaving: Tensor | None
    landing: Tensor | None


class Links:
    """The connections of one process group.

    Args:
        group: of ``torch.distributed``.
        members: the process numbers of its ranks.
        timeout_seconds: of one round.
    """

    def __init__(self, group: dist.ProcessGroup, members: Sequence[int], timeout_seconds: float) -> None:
        self.group = group
        self.members = tuple(members)
        self.timeout = timedelta(seconds=timeout_seconds)
        self._coalesces = "nccl" in str(group.name())

    def swap(self, messages: Sequence[Message]) -> None:
        """Send and receive all of them.

        Raises:
            LostPeer: one could not be, within the time limit.
        """
        if self._coalesces:
            self._swap_coalesced(messages)
            return
        begun: list[tuple[int, dist.Work]] = []
        try:
            for message in messages:
                rank = self.members.index(message.process)
                with _failing_for(message.process):
                    if message.leaving is not None:
                        begun.append((message.process, self.group.send([message.leaving], rank, 0)))
                    if message.landing is not None:
                        begun.append((message.process, self.group.recv([message.landing], rank, 0)))
            for process, work in begun:
                with _failing_for(process):
                    work.wait(self.timeout)
        finally:
            # An error keeps this frame, and what has begun keeps the connections that close() is to close.
            begun.clear()
            work = None  # type: ignore[assignment]

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum over processes.

        Raises:
            LostPeer: one did not take part within the time limit.
        """
        total = value.contiguous().clone()
        options = dist.AllreduceOptions()
        options.reduceOp = dist.ReduceOp.SUM
        options.timeout = self.timeout
        with _failing_for(None):
            self.group.allreduce([total], options).wait()
        return total

    def close(self) -> None:
        """Close the connections, so that those who wait for this process learn that it has given up."""
        # Gloo closes its sockets when nothing refers to the group any more, and has no other way.
        del self.group

    def _swap_coalesced(self, messages: Sequence[Message]) -> None:
        operations = []
        for message in messages:
            peer = dist.get_global_rank(self.group, self.members.index(message.process))
            for function, tensor in ((dist.isend, message.leaving), (dist.irecv, message.landing)):
                if tensor is not None:
                    operations.append(dist.P2POp(function, tensor, peer, self.group))
        with _failing_for(None):
            for work in dist.batch_isend_irecv(operations):
                work.wait()


@contextmanager
def _failing_for(process: int | None) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, dist.DistError) as error:
        raise LostPeer(process, str(error)) from error
