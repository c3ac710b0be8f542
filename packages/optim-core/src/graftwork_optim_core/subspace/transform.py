"""What a gradient transform must do for an optimizer whose state lives in its coarse space.

The host keeps moments of the coarse gradient; the transform makes the coarse gradient and turns the host's
direction, together with whatever the coarse gradient left out, into an update of the full weight.

All tensors are local to the process, two-dimensional and in the arithmetic's dtype (see
:func:`graftwork_optim_core.subspace.state.arithmetic_dtype`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from graftwork_optim_core.subspace.scalars import Scalar


@dataclass(frozen=True, slots=True)
class Direction:
    """Where a host wants the coarse coefficients to go: ``numerator / denominator``, before bias correction.

    Args:
        numerator: ``[rows, coarse]``, the running mean of the coarse gradient.
        denominator: ``[rows, coarse]``, positive; what any other gradient of the same block is divided by
            too.
    """

    numerator: Tensor
    denominator: Tensor


@dataclass(frozen=True, slots=True)
class BiasCorrection:
    """Factors that undo the start at zero of the host's running averages, for one weight at its own step.

    Args:
        mean: multiplies the numerator, ``1 / (1 - beta1 ** t)``.
        root: multiplies the inverse of the denominator, ``sqrt(1 - beta2 ** t)``.
    """

    mean: Scalar
    root: Scalar


class GradientTransform(Protocol):
    """A linear map of gradients to a smaller space, and the way back."""

    @property
    def column_block(self) -> int:
        """How many columns are taken together, so that they must lie in one process."""
        ...

    def coarse_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a state tensor for a weight of this shape."""
        ...

    def compress(self, gradient: Tensor) -> Tensor:
        """Return the coarse gradient ``[rows, coarse]``; any inf or NaN of the gradient must show in it."""
        ...

    def expand(
        self, gradient: Tensor, coarse: Tensor, direction: Direction, correction: BiasCorrection
    ) -> Tensor:
        """Return the update ``[rows, width]``, which is to be multiplied by the rate and subtracted."""
        ...
