"""Noise with heavy tails: symmetric alpha-stable, and Pareto with its mean taken off.

Both have moments of every order below their index and none above. The first is symmetric (Chambers, Mallows,
Stuck, 1976: with U uniform on (-pi/2, pi/2) and W exponential

    X = sin(index U) / cos(U)^(1/index) (cos((1 - index) U) / W)^((1 - index)/index)

whose characteristic function is ``exp(-|t|^index)``). The second is skewed: most draws are a little below
zero, few are far above.

Shapes: whatever is asked for, in float64, from a generator of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

NoiseKind = Literal["stable", "pareto"]
NoiseDraw = Callable[[tuple[int, ...], torch.Generator], Tensor]


def symmetric_stable(index: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw from the symmetric stable law of unit scale.

    Args:
        index: of the tails, in (1, 2]; at 2 it is a normal law of variance 2.
        shape: of the result.
        generator: on the CPU.

    >>> draws = symmetric_stable(2.0, (20000,), torch.Generator().manual_seed(0))
    >>> round(float(draws.var()), 1)
    2.0
    """
    angle = (torch.rand(shape, dtype=torch.float64, generator=generator) - 0.5) * math.pi
    wait = -torch.log1p(-torch.rand(shape, dtype=torch.float64, generator=generator))
    ratio = torch.cos((1 - index) * angle).div_(wait).pow_((1 - index) / index)
    return torch.sin(index * angle).div_(torch.cos(angle).pow_(1 / index)).mul_(ratio)


def centred_pareto(index: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw from the Pareto law that starts at 1, less its mean ``index / (index - 1)``.

    Args:
        index: of the tail, greater than 1.
        shape: of the result.
        generator: on the CPU.

    >>> draws = centred_pareto(3.0, (20000,), torch.Generator().manual_seed(0))
    >>> round(float(draws.min()), 2), abs(float(draws.mean())) < 0.02
    (-0.5, True)
    """
    uniform = torch.rand(shape, dtype=torch.float64, generator=generator)
    return (-torch.log1p(-uniform) / index).exp_().sub_(index / (index - 1))


def draw_of(kind: NoiseKind, index: float, scale: float) -> NoiseDraw:
    """Return what draws noise of a kind and scale."""
    law = symmetric_stable if kind == "stable" else centred_pareto
    return lambda shape, generator: law(index, shape, generator).mul_(scale)


def hill_estimates(sizes: Tensor) -> Tensor:
    """Return Hill's estimate of the tail index by the k largest of n sizes, for k = 1 ... n - 1.

    ``index_k = k / sum_i log(X_(i) / X_(k+1))`` with X_(1) the largest; its standard error is ``index_k /
    sqrt(k)`` for independent draws of a law whose tail is a power. Small k vary much, large ones leave the
    tail.

    Args:
        sizes: ``[n]``, all greater than 0.

    >>> exact = torch.arange(1, 1001, dtype=torch.float64).div(1000).pow(-1 / 1.5)
    >>> round(float(hill_estimates(exact)[199]), 1)
    1.5
    """
    logs = sizes.double().sort(descending=True).values.log()
    count = torch.arange(1, len(logs), dtype=torch.float64)
    return count / (logs.cumsum(0)[:-1] - count * logs[1:])
