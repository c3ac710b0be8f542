"""No transform at all: the host works on the gradient itself."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from graftwork_optim_core.subspace.site import Site
from graftwork_optim_core.subspace.transform import BiasCorrection, Direction, GradientTransform, HaarBlocks


class IdentityTransform(GradientTransform):
    """Leaves the gradient as it is, so that the optimizer is its host.

    >>> IdentityTransform().coarse_shape((512, 1376))
    (512, 1376)
    """

    needs_gradient: ClassVar[bool] = False

    @property
    def as_haar(self) -> HaarBlocks | None:
        """Haar's at level 0; None for a subclass, which may do something."""
        return HaarBlocks(0, False) if type(self) is IdentityTransform else None

    def coarse_shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Return the shape itself."""
        return shape

    def compress(self, gradient: Tensor, site: Site) -> Tensor:
        """Return the gradient itself."""
        return gradient

    def expand(
        self, gradient: Tensor, coarse: Tensor, direction: Direction, correction: BiasCorrection, site: Site
    ) -> Tensor:
        """Return the direction, corrected."""
        return corrected_quotient(direction, correction)

    def __repr__(self) -> str:
        return "IdentityTransform()"


def corrected_quotient(direction: Direction, correction: BiasCorrection) -> Tensor:
    """Return ``numerator / denominator`` times both corrections; consumes the denominator."""
    factor = correction.root * correction.mean
    if direction.denominator is None:
        return torch.mul(direction.numerator, factor)
    quotient = torch.div(direction.numerator, direction.denominator, out=direction.denominator)
    return quotient.mul_(factor)
