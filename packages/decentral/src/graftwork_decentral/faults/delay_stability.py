"""How old what neighbours send may be before it does harm.

Plain mixing with values d steps old has on an eigenvalue lambda the modes of
``s^(d+1) = s^d - (1 - lambda)``.
They lie inside the unit circle exactly where ``0 < 1 - lambda < 2 sin(pi / (2 (2 d + 1)))`` (derived here: at
the boundary s = exp(i w) with (2 d + 1) w = pi).

For a strategy the same is asked of its form itself: one step is linear in the state (the point, the form's
buffers, and the past of each channel), so that running it on every unit vector gives the matrix, whose
spectral radius must be below 1. All constant ages up to the largest are looked at; ages that change from step
to step are covered by experiment only, in which they do less harm than constant ones.

What comes of it: exact diffusion and EXTRA sum up corrections that are old. With any delay they have a mode
that grows wherever the step is small and ``1 - lambda`` is 0.05 or more, so that they are refused on every
graph of use. The three kinds of tracking tolerate about the delays that mixing does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor

from graftwork import GraftworkError
from graftwork_decentral.strategies.strategy import Strategy
from graftwork_decentral.topology.topology import Topology

_SMALL_STEP = 1e-3


def largest_mixing_gap(delay: int) -> float:
    """Return the bound on ``1 - lambda`` for plain mixing.

    Args:
        delay: in steps.

    >>> [round(largest_mixing_gap(delay), 4) for delay in (0, 1, 2)]
    [2.0, 1.0, 0.618]
    """
    return 2 * math.sin(math.pi / (2 * (2 * delay + 1)))


def delayed_radius(strategy: Strategy, eigenvalue: float, delay: int, step_times_curvature: float) -> float:
    """Return the spectral radius of a strategy's step whose mixing is some steps old.

    Args:
        strategy: which.
        eigenvalue: of the mixing matrix, not 1.
        delay: of all that is mixed, in steps.
        step_times_curvature: of the quadratic.

    >>> from graftwork_decentral.strategies import exact_diffusion
    >>> round(delayed_radius(exact_diffusion(), 0.5, 0, 0.1), 5)  # without delay, as its two modes say
    0.67082
    """
    return _radius(strategy, float(eigenvalue), delay, step_times_curvature)


def validate_delay(
    strategy: Strategy, topology: Topology, delay: int, step_times_smoothness: float | None
) -> None:
    """Refuse a delay with which a strategy diverges.

    Args:
        strategy: which.
        topology: without faults.
        delay: the largest age in steps.
        step_times_smoothness: step size times the largest curvature, where it is known.

    Raises:
        GraftworkError: some constant age up to the delay is unstable.
    """
    values = sorted({round(float(value.real), 9) for value in topology.spectrum.others})
    steps = [_SMALL_STEP] if step_times_smoothness is None else [_SMALL_STEP, step_times_smoothness]
    for age in range(1, delay + 1):
        for value in values:
            worst = max(delayed_radius(strategy, value, age, step) for step in steps)
            if worst >= 1:
                raise GraftworkError(
                    f"strategy {strategy.name!r} on {topology.name!r} diverges with faults.delay = {delay}: "
                    f"with values {age} steps old the mode of the eigenvalue {value:.4g} grows by a factor "
                    f"{worst:.4g} a step; use {_cure(strategy, age)}"
                )


def _cure(strategy: Strategy, age: int) -> str:
    """What may be asked for instead; nothing that the run has already."""
    cures = [f"faults.delay = {age - 1}", "a ring with a larger topology.self_weight"]
    if not strategy.tracks:
        cures.append("a gt strategy")
    if strategy.corrects_heterogeneity:
        cures.append("diffusion")
    return ", ".join(cures[:-1]) + f" or {cures[-1]}"


@lru_cache(maxsize=4096)
def _radius(strategy: Strategy, eigenvalue: float, delay: int, step_times_curvature: float) -> float:
    channels = _channels(strategy)
    names = list(strategy.start(torch.zeros(1, 1, dtype=torch.float64)).state())
    width = 1 + len(names) + delay * len(channels)
    basis = torch.eye(width, dtype=torch.float64)
    point = basis[:, :1].clone()
    form = strategy.start(point)
    for place, name in enumerate(names):
        form.state()[name].copy_(basis[:, 1 + place : 2 + place])
    following_past = []
    seen = 0

    def exchange(payloads: Mapping[str, Tensor]) -> dict[str, Tensor]:
        nonlocal seen
        mixed = {}
        for name, value in payloads.items():
            first = 1 + len(names) + delay * seen
            past = torch.cat([value, basis[:, first : first + delay]], dim=1)
            mixed[name] = value - (1 - eigenvalue) * past[:, delay : delay + 1]
            following_past.append(past[:, :delay])
            seen += 1
        return mixed

    direction = form.prepare(step_times_curvature * point, exchange)
    following = form.combine(point, point - direction, exchange)
    columns = [following, *form.state().values(), *following_past]
    return float(torch.linalg.eigvals(torch.cat(columns, dim=1)).abs().max())


@lru_cache(maxsize=256)
def _channels(strategy: Strategy) -> tuple[str, ...]:
    """The exchanges of one step, by name."""
    seen: list[str] = []

    def exchange(payloads: Mapping[str, Tensor]) -> dict[str, Tensor]:
        seen.extend(payloads)
        return dict(payloads)

    point = torch.zeros(1, 1, dtype=torch.float64)
    form = strategy.start(point)
    form.combine(point, point - form.prepare(point, exchange), exchange)
    return tuple(seen)
