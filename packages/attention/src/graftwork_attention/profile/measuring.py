"""What one mixer costs at one length.

On a CPU time is that of the process in one thread, so that other work on the machine hardly counts; on a
CUDA device it is between two events. Forward is in evaluation without gradients; the other figure is forward
and backward in training, with the gradient of the input. Parameters are no part of the bytes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks


@dataclass(slots=True)
class Cost:
    """One mixer at one length.

    Args:
        mixer: its name.
        length: tokens.
        forward: seconds, one a round.
        training: seconds of forward and backward, one a round.
        saved_bytes: of tensors kept from forward to backward, each storage once.
        peak_bytes: the most that was allocated at a time in forward and backward beyond what was there.
        skipped: why there are no figures; empty where there are.
    """

    mixer: str
    length: int
    forward: list[float] = field(default_factory=list)
    training: list[float] = field(default_factory=list)
    saved_bytes: int = 0
    peak_bytes: int = 0
    skipped: str = ""

    def seconds(self, pass_: str) -> float:
        """The median over rounds."""
        rounds: list[float] = getattr(self, pass_)
        return statistics.median(rounds)


class Subject:
    """A mixer with an input, ready to be run.

    Args:
        build: the mixer's, called with ``(dim, heads, max_len, layer_index=0)``.
        dim: width of a token.
        heads: divides it.
        length: tokens, and the mixer's ``max_len``.
        batch: samples.
        device: where to.
        dtype: of weights and input.
    """

    def __init__(
        self,
        build: Callable[..., nn.Module],
        *,
        dim: int,
        heads: int,
        length: int,
        batch: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            self.module = build(dim, heads, length, layer_index=0).to(device, dtype)
            x = torch.randn(batch, length, dim)
        self.x = x.to(device, dtype)
        self.device = device

    def forward(self) -> None:
        self.module.eval()
        with torch.no_grad():
            self.module(self.x)

    def training(self) -> None:
        self.module.train()
        x = self.x.detach().requires_grad_()
        y: Tensor = self.module(x)
        parameters = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        torch.autograd.grad(y, [x, *parameters], torch.ones_like(y), allow_unused=True)

    def timed(self, run: Callable[[], None]) -> float:
        """Seconds of one run."""
        if self.device.type == "cuda":
            begin, end = _event(), _event()
            torch.cuda.synchronize(self.device)
            begin.record()
            run()
            end.record()
            torch.cuda.synchronize(self.device)
            milliseconds: float = begin.elapsed_time(end)
            return milliseconds / 1000
        started = time.process_time()
        run()
        return time.process_time() - started

    def saved_bytes(self) -> int:
        """Bytes of the tensors that forward keeps for backward."""
        own = {
            tensor.untyped_storage().data_ptr() for tensor in self.module.state_dict(keep_vars=True).values()
        }
        kept: dict[int, int] = {}
        held: list[Tensor] = []

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
                held.append(tensor)  # or its memory would be another's before forward has ended
            return tensor

        self.module.train()
        x = self.x.detach().requires_grad_()
        with saved_tensors_hooks(pack, lambda tensor: tensor):
            y = self.module(x)
        del y
        return sum(kept.values())

    def peak_bytes(self) -> int:
        """The most bytes allocated at a time in forward and backward, beyond those before."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device)
            self.training()
            return torch.cuda.max_memory_allocated(self.device) - before
        activities = [torch.profiler.ProfilerActivity.CPU]
        with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
            self.training()
        held = most = 0
        for event in _allocations(profile):
            held += event.nbytes()
            most = max(most, held)
        return most


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def _allocations(profile: Any) -> list[Any]:
    """Allocations, positive, and releases, negative, in order of time."""
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    return sorted(events, key=lambda event: event.start_ns())
