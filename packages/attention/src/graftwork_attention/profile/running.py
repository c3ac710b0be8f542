"""Every mixer at every length, in rounds so that what changes on the machine changes for all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from graftwork import GraftworkError
from graftwork.plugin_code import cause_of
from graftwork_attention.profile.measuring import Cost, Subject
from graftwork_trainer.waiting import doing

# A cell that is expected to take a larger share of the time than this is left out.
_LARGEST_SHARE = 0.3
_MOST_ROUNDS = 9


@dataclass(frozen=True, slots=True)
class Setting:
    """What is the same for all mixers.

    Args:
        dim: width of a token.
        heads: of attention; divides ``dim``.
        lengths: tokens, ascending.
        batch: samples.
        device: where it is measured.
        dtype: of weights and inputs.
        seconds: that all rounds together may take, about.
    """

    dim: int
    heads: int
    lengths: Sequence[int]
    batch: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    seconds: float = 100.0


def run(mixers: Mapping[str, Callable[..., nn.Module]], setting: Setting) -> list[Cost]:
    """Measure.

    Args:
        mixers: what builds each, by name.
        setting: what is the same for all.

    Returns:
        Costs in order of mixers, then of lengths.

    Raises:
        GraftworkError: a mixer cannot be built at this width.
    """
    costs = [Cost(name, length) for name in mixers for length in setting.lengths]
    with _one_thread(setting.device):
        ends = time.monotonic() + setting.seconds
        for name, build in mixers.items():
            # What comes once in a process is nobody's cost.
            with doing(f"a first look at {name}"):
                _measure(Cost(name, setting.lengths[0]), build, setting)
        for number in range(_MOST_ROUNDS):
            started = time.monotonic()
            # Shorter ones first: by them the time of longer ones is foreseen.
            for cost in sorted(costs, key=lambda cost: cost.length):
                if not cost.skipped and not cost.training:
                    cost.skipped = _too_long(cost, costs, setting)
                if not cost.skipped:
                    with doing(f"round {number + 1}: {cost.mixer}, {cost.length:,} tokens"):
                        _measure(cost, mixers[cost.mixer], setting)
            if time.monotonic() + (time.monotonic() - started) > ends:
                break
    return costs


def _measure(cost: Cost, build: Callable[..., nn.Module], setting: Setting) -> None:
    try:
        subject = Subject(
            build,
            dim=setting.dim,
            heads=setting.heads,
            length=cost.length,
            batch=setting.batch,
            device=setting.device,
            dtype=setting.dtype,
        )
        cost.forward.append(subject.timed(subject.forward))
        cost.training.append(subject.timed(subject.training))
        if not cost.peak_bytes:
            cost.saved_bytes, cost.peak_bytes = subject.saved_bytes(), subject.peak_bytes()
    except torch.OutOfMemoryError:
        cost.skipped = "it needs more memory than the device has"
    except Exception as error:
        raise GraftworkError(
            f"{cost.mixer} cannot be profiled with dim {setting.dim}, heads {setting.heads} and "
            f"{cost.length} tokens: {cause_of(error)}; leave it out by --over"
        ) from error


def _too_long(cost: Cost, costs: Sequence[Cost], setting: Setting) -> str:
    """Why a cell is left out: by what the same mixer took at the length before."""
    before = [one for one in costs if one.mixer == cost.mixer and one.training and one.length < cost.length]
    if not before:
        return ""
    last = before[-1]
    # Nothing here is worse than quadratic. Forward and backward are made twice more, for the bytes.
    expected = 4 * last.training[-1] * (cost.length / last.length) ** 2
    if expected <= setting.seconds * _LARGEST_SHARE:
        return ""
    return (
        f"it might take {expected:.0f} of the {setting.seconds:g} seconds in a round; more may be given by "
        "--seconds"
    )


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
