"""The few numbers of a step, as Python floats where the host may look and as tensors where it must not wait.

On a CPU a float costs nothing; on an accelerator reading one stalls the queue. Every function here takes
either.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

Scalar = float | Tensor

_DIVISION_GUARD = 1e-8


def one_minus_power(base: float, exponent: Scalar) -> Scalar:
    """Return ``1 - base ** exponent`` without cancellation, for ``0 <= base < 1`` and ``exponent >= 1``.

    >>> round(one_minus_power(0.999, 1.0), 12)
    0.001
    """
    if base == 0.0:
        return torch.ones_like(exponent) if isinstance(exponent, Tensor) else 1.0
    if isinstance(exponent, Tensor):
        return torch.expm1(exponent * math.log(base)).neg()
    return -math.expm1(exponent * math.log(base))


def square_root(value: Scalar) -> Scalar:
    """Return the square root."""
    return value.sqrt() if isinstance(value, Tensor) else math.sqrt(value)


def reciprocal_times(denominator: Tensor, factor: Scalar) -> Tensor:
    """Write ``factor / denominator`` into the denominator and return it."""
    return denominator.reciprocal_().mul_(factor)


def limit_growth(norm: Scalar, previous: Scalar, limit: float) -> tuple[Scalar, Scalar]:
    """Return by what to divide a direction so that its norm grows by at most ``limit``, and the norm to
    remember.

    The divisor is ``max(norm / (previous + 1e-8), limit) / limit``, and 1 while no positive norm has been
    seen. A norm of zero is not remembered: from it the norm could only ever grow by one hundredth of 1e-8 a
    step.

    Args:
        norm: of the new direction, 0 or more.
        previous: what this function returned last, 0 at first.
        limit: the largest allowed quotient of successive norms, 1.01 as published.

    >>> limit_growth(2.0, 0.0, 1.01)
    (1.0, 2.0)
    >>> divisor, remembered = limit_growth(2.0, 1.0, 1.01)
    >>> round(divisor, 4), round(remembered, 4)
    (1.9802, 1.01)
    """
    if isinstance(norm, Tensor):
        growth = torch.clamp(norm / (previous + _DIVISION_GUARD), min=limit) / limit
        divisor = torch.where(torch.as_tensor(previous > 0), growth, torch.ones_like(growth))
        return divisor, torch.where(norm > 0, norm / divisor, previous)
    assert not isinstance(previous, Tensor)
    number = max(norm / (previous + _DIVISION_GUARD), limit) / limit if previous > 0 else 1.0
    return number, norm / number if norm > 0 else previous
