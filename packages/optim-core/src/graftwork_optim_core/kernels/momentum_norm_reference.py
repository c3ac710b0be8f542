"""The running means of gradients and their norms, in plain torch.

    m <- m + weight (factor g - m),    returns sum m^2

Shapes: m and g of one shape, any. Sums are taken in float64.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def sums_of_squares(tensors: Sequence[Tensor]) -> list[float]:
    """Return the sum of the squares of each.

    >>> import torch
    >>> sums_of_squares([torch.tensor([3.0, 4.0])])
    [25.0]
    """
    return [float(tensor.double().square().sum()) for tensor in tensors]


def average_and_square(
    momenta: Sequence[Tensor], gradients: Sequence[Tensor], weights: Sequence[float], factors: Sequence[float]
) -> list[float]:
    """Take gradients into the means, in place, and return the sums of the means' squares.

    >>> import torch
    >>> average_and_square([torch.tensor([3.0, 0.0])], [torch.tensor([3.0, 8.0])], [0.5], [1.0])
    [25.0]
    """
    for momentum, gradient, weight, factor in zip(momenta, gradients, weights, factors, strict=True):
        momentum.lerp_(factor * gradient, weight)
    return sums_of_squares(momenta)
