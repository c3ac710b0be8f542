"""Time of a step of exact diffusion on stacked agents: fused, beside torch's operations one by one.

    python packages/decentral/benchmarks/exact_diffusion_step.py [--threads 1] [--device cpu] [--rounds 15]

Eager is ``u = x - a g - D; x = W u; D = D + (u - x)`` with new results, whose memory the system has to hand
out; kept is the same into buffers that are there, fourteen reads and writes of an array. Fused reads or
writes five. ``moved`` is the form for what an optimizer has moved already, beside kept ``u = x - D`` and so
on. Shares of copy bandwidth count five arrays, or four, and a copy into memory that is there already. Every
round calls every contestant once, and times are the least of all rounds: others use the machine too. Peak is
what a step allocates, in units of one array. Nothing is timed if a step is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from graftwork_decentral.kernels.exact_diffusion import exact_diffusion_after_step, exact_diffusion_step

AGENTS = (4, 8, 16, 32, 64)
BAR = 2.0
STEP_SIZE = 1e-6


def lazy_ring(agents: int, device: torch.device) -> Tensor:
    """Return weights 1/6 to both sides."""
    every = torch.arange(agents)
    ring = torch.zeros(agents, agents, dtype=torch.float64)
    for side in (-1, 1):
        ring[every, (every + side) % agents] += 1 / 6
    ring[every, every] += 1 - ring.sum(1)
    return ring.to(device)


class Contest:
    """A step in every form, on arrays of their own.

    Args:
        agents: rows.
        parameters: columns.
        device: where.
    """

    def __init__(self, agents: int, parameters: int, device: torch.device) -> None:
        torch.manual_seed(0)
        shape = (agents, parameters)
        self.values, self.direction, dual = (torch.randn(shape, device=device) for _ in range(3))
        # Its mean is 0 in every method that is exact.
        self.dual = (dual - dual.mean(0)) * 0.01
        self.target = torch.empty_like(self.values)
        self.weights = lazy_ring(agents, device)
        self.narrow = self.weights.float()
        self.step_size = torch.tensor(STEP_SIZE, dtype=torch.float64, device=device)

    def calls(self) -> dict[str, Callable[[], object]]:
        """Return all by name."""
        return {
            "copy": lambda: self.target.copy_(self.values),
            "eager": self.eager,
            "kept": self.kept,
            "fused": self.fused,
            "kept, moved": self.kept_moved,
            "fused, moved": self.fused_moved,
        }

    def eager(self) -> None:
        local = self.values - STEP_SIZE * self.direction - self.dual
        self.values = self.narrow @ local
        self.dual = self.dual + (local - self.values)

    def kept(self) -> None:
        torch.sub(self.values, self.direction, alpha=STEP_SIZE, out=self.values)
        self.kept_moved()

    def fused(self) -> None:
        exact_diffusion_step(self.values, self.direction, self.dual, self.step_size, self.weights)

    def kept_moved(self) -> None:
        torch.sub(self.values, self.dual, out=self.target)
        torch.mm(self.narrow, self.target, out=self.values)
        self.dual.add_(self.target.sub_(self.values))

    def fused_moved(self) -> None:
        exact_diffusion_after_step(self.values, self.dual, self.weights)


def check(device: torch.device) -> None:
    """Stop the program if the fused step is not the eager one."""
    for agents in AGENTS:
        one, other = (Contest(agents, 1001, device) for _ in range(2))
        one.eager()
        other.fused()
        one.kept_moved()
        other.fused_moved()
        for ours, theirs in ((other.values, one.values), (other.dual, one.dual)):
            if not torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5):
                sys.exit(f"{agents} agents: the fused step is wrong; nothing is timed")


def least_seconds(
    calls: Mapping[str, Callable[[], object]], rounds: int, device: torch.device
) -> dict[str, float]:
    """Return the least time of every call over all rounds."""
    seconds = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            wait(device)
            start = time.perf_counter()
            call()
            wait(device)
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds


def wait(device: torch.device) -> None:
    """Wait for what was launched."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Drop what the profiler's libraries say on the standard error."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def peak_bytes(call: Callable[[], object], device: torch.device) -> float:
    """Return how much a call allocates beyond what it finds."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    with silent(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    held = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def main() -> None:
    """Check, then measure for each number of threads."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--elements", type=int, help="of an array; 2**23 on a CPU, 2**28 elsewhere")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    elements = arguments.elements or (1 << 23 if device.type == "cpu" else 1 << 28)
    check(device)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"torch {torch.__version__}, {where}, {elements * 4 / 2**20:.0f} MiB an array, float32")
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        print(f"\n{threads} thread{'s' * (threads > 1)}, least of {arguments.rounds} rounds")
        print("agents  copy ms  fused ms  eager/fused  kept/fused  of copy  moved: kept/fused  of copy  peak")
        for agents in AGENTS:
            contest = Contest(agents, elements // agents, device)
            calls = contest.calls()
            peaks = [peak_bytes(calls[name], device) / contest.values.nbytes for name in ("fused", "eager")]
            seconds = least_seconds(calls, arguments.rounds, device)
            fused, moved, bandwidth = seconds["fused"], seconds["fused, moved"], 2 / seconds["copy"]
            verdict = "met" if seconds["eager"] >= BAR * fused else "MISSED"
            print(
                f"{agents:6}  {1e3 * seconds['copy']:7.2f}  {1e3 * fused:8.2f}"
                f"  {seconds['eager'] / fused:11.2f}  {seconds['kept'] / fused:10.2f}"
                f"  {5 / fused / bandwidth:7.0%}"
                f"  {seconds['kept, moved'] / moved:17.2f}  {4 / moved / bandwidth:7.0%}"
                f"  {peaks[0]:.2f}, eager {peaks[1]:.2f} arrays; eager at least {BAR:g} times: {verdict}"
            )


if __name__ == "__main__":
    main()
