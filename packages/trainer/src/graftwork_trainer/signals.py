"""Ending a run early without losing a step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch.distributed


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM of a single process into a request to save and stop after this
    step."""
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread() or torch.distributed.is_initialized():
        # Ranks would see the signal at different steps and wait for each other.
        yield requested.is_set
        return

    def request(signum: int, frame: object) -> None:
        requested.set()
        number = signal.Signals(signum)
        signal.signal(number, previous[number])  # a second signal ends the process at once

    previous = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield requested.is_set
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
