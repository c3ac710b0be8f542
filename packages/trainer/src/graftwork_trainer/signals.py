"""Ending a training early without losing a step: a signal becomes a wish that all processes follow."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from graftwork_trainer.roll_call import exchange_seconds

_WISHES = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
_END_AT_ONCE = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_requests(timeout_seconds: float) -> Iterator[Callable[[float], tuple[int, float]]]:
    """Turn the first SIGINT, SIGTERM, SIGHUP or SIGUSR1 into a request to save and stop after a step.

    A second SIGINT or SIGTERM does what it would do otherwise: it ends the process. A signal that is ignored
    when this begins, as SIGHUP is under nohup, stays so.

    Args:
        timeout_seconds: how long to wait for the word of another process.

    Yields:
        A function that every process calls once a step, with the part of its time that is over: the number of
        the signal to stop for, 0 for none, and the largest part of all processes. They are the same in all
        processes at the same step, whichever of them had the signal.
    """
    with _first_signal() as received:
        if not dist.is_initialized():
            yield lambda time_over: (received(), time_over)
            return
        agreement = Agreement(timeout_seconds, 2)
        yield lambda time_over: _as_agreed(*agreement.largest(float(received()), time_over))
        agreement.close()


def _as_agreed(number: float, time_over: float) -> tuple[int, float]:
    return int(number), time_over


class Agreement:
    """The largest of some numbers over all processes, a step late so that nobody waits for it.

    Each call sends this process's numbers, and reads what was sent at the call before, which has arrived
    while the step was taken.

    Args:
        timeout_seconds: of reading.
        count: of the numbers.
    """

    def __init__(self, timeout_seconds: float, count: int) -> None:
        # Of its own, and on the CPU: the device is not waited for, and no other exchange comes between.
        made = dist.new_group(backend="gloo", timeout=timedelta(seconds=exchange_seconds(timeout_seconds)))
        assert isinstance(made, dist.ProcessGroup)  # no number, which stands for a group without this process
        self._group, self._count = made, count
        self._sent: tuple[dist.Work, torch.Tensor] | None = None

    def largest(self, *numbers: float) -> list[float]:
        """Send numbers; return the largest of each that was sent at the call before, 0 at the first."""
        known = self._read()
        sent = torch.tensor(numbers, dtype=torch.float64, device="cpu")
        work = dist.all_reduce(sent, dist.ReduceOp.MAX, group=self._group, async_op=True)
        assert work is not None
        self._sent = (work, sent)
        return known

    def close(self) -> None:
        """Take in what is under way; all processes have made equally many calls."""
        self._read()
        dist.destroy_process_group(self._group)

    def _read(self) -> list[float]:
        if self._sent is None:
            return [0.0] * self._count
        work, sent = self._sent
        work.wait()
        return list(sent.tolist())


@contextmanager
def _first_signal() -> Iterator[Callable[[], int]]:
    """Yield what gives the number of the first signal received, 0 before."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # others can have no handlers
        yield lambda: 0
        return

    def note(number: int, frame: object) -> None:
        received.append(number)
        for again in _END_AT_ONCE:
            if again in before:
                signal.signal(again, before[again])

    # None is a handler that Python did not install and cannot put back.
    handlers = {number: signal.getsignal(number) for number in _WISHES}
    before = {number: old for number, old in handlers.items() if old not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: received[0] if received else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
