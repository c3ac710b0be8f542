"""How much memory a call takes at most, by torch's own account of its allocations."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch


def peak_allocation(call: Callable[[], object]) -> int:
    """Return by how many bytes torch's allocator on the CPU grows at most within a call.

    What libraries take around it is not seen: scratch of BLAS, and the few kilobytes a thread of numba's.

    >>> 4096 <= peak_allocation(lambda: torch.ones(1024).sum()) < 8192
    True
    """
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        with torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
        ) as profile:
            call()
        profile.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    changes = [
        (event["ts"], number, event["args"]["Bytes"])
        for number, event in enumerate(events)
        if event.get("name") == "[memory]"
    ]
    extra = most = 0
    for _, _, change in sorted(changes):
        extra += change
        most = max(most, extra)
    return most
