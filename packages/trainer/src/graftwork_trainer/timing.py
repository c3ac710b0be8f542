"""Time per step and memory, without making the device wait more often than the log does."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import torch


def _event() -> Any:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


class Stopwatch:
    """Times a ``with`` block many times over; on CUDA by events, read only when asked.

    Args:
        device: whose work is timed.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_cuda = device.type == "cuda"
        self._started: Any = None
        self._pending: list[tuple[Any, Any]] = []
        self.seconds: list[float] = []

    def __enter__(self) -> Stopwatch:
        if self._on_cuda:
            self._started = _event()
            self._started.record()
        else:
            self._started = time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._on_cuda:
            stopped = _event()
            stopped.record()
            self._pending.append((self._started, stopped))
        else:
            self.seconds.append(time.perf_counter() - self._started)

    def collect(self) -> None:
        """Read the events recorded so far; waits for the device."""
        for started, stopped in self._pending:
            stopped.synchronize()
            self.seconds.append(started.elapsed_time(stopped) / 1000)
        self._pending.clear()

    def summary(self, skip: int = 3) -> dict[str, float]:
        """Median, 10th and 90th percentile in seconds, leaving out the first few, which warm things up."""
        self.collect()
        times = sorted(self.seconds[skip:] or self.seconds)
        if not times:
            return {}
        return {
            name: times[min(int(share * len(times)), len(times) - 1)]
            for name, share in (("p10", 0.1), ("median", 0.5), ("p90", 0.9))
        }


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory held: by the process on a CPU, by torch's allocator on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    kilobyte = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobyte


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Bytes of the optimizer's state on this process, each storage counted once."""
    storages: dict[int, int] = {}
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, torch.Tensor):
                local = value.to_local() if hasattr(value, "to_local") else value
                storage = local.untyped_storage()
                storages[id(storage) if local.is_meta else storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())
