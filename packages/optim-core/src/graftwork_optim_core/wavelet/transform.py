"""The Haar transform of a gradient, as the closed form to which GWT collapses in this basis.

Source: Gradient Wavelet Transform, arXiv:2501.07237. With B = 2^l columns a block, c = 2^(-l/2), and S the
sum of the gradient G over a block, one step computes (m, d: the host's running mean and root of the coarse
gradient)

    A = c S,        U = r_m r_d (G + c (m - A)) / d,        m and d repeated B times along the row,

that is: inside each block the gradient's mean gives way to its running mean, and everything is divided by one
shared root. ``r_m`` and ``r_d`` are the bias corrections. No coefficient arrays are made.

The published rule multiplies also the details, ``G - c A``, by ``r_m``, though they carry no running mean,
and divides them by a root that may happen to be near zero. The guard leaves ``r_m`` out and bounds their
quotient:

    U = clip(r_d (G - c A) / d, -3, 3) + r_m r_d c m / d.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from graftwork_optim_core.subspace.scalars import reciprocal_times
from graftwork_optim_core.subspace.transform import BiasCorrection, Direction
from graftwork_optim_core.wavelet.haar import block_count, block_sums, spread_blocks

DETAIL_BOUND = 3.0
"""How many times its block's root the guard lets a detail be; normal ones exceed it 3 times in 1000."""


@dataclass(frozen=True, slots=True)
class HaarTransform:
    """Haar coefficients along the last axis, at any level.

    A weight of more than two dimensions is taken as ``[shape[0], everything else]``: the last axis of a
    convolution is three pixels wide. Where the last axis is a multiple of ``2 ** level``, as in a stack of
    experts, that changes nothing.

    Args:
        level: 0 or more; a block is ``2 ** level`` columns. Level 0 is the identity.
        detail_guard: ``"auto"`` or ``"off"``, see above.

    >>> HaarTransform(level=2).coarse_shape((512, 1376)), HaarTransform(level=2).coarse_shape((64, 3, 3, 3))
    ((512, 344), (64, 7))
    """

    level: int
    detail_guard: Literal["auto", "off"] = "auto"

    @property
    def column_block(self) -> int:
        """Columns a block, ``2 ** level``."""
        return 1 << self.level

    @property
    def _coarse_unit(self) -> float:
        return float(2.0 ** (-self.level / 2))

    def coarse_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the coarse coefficients of a weight."""
        if self.level == 0 or not shape:
            return shape
        if len(shape) == 1:
            return (block_count(shape[0], self.level),)
        return (shape[0], block_count(torch.Size(shape[1:]).numel(), self.level))

    def compress(self, gradient: Tensor) -> Tensor:
        """Return ``A``, the coarse coefficients ``[rows, blocks]``; at level 0 the gradient itself."""
        if self.level == 0:
            return gradient
        return block_sums(gradient, self.level).mul_(self._coarse_unit)

    def expand(
        self, gradient: Tensor, coarse: Tensor, direction: Direction, correction: BiasCorrection
    ) -> Tensor:
        """Return ``U`` ``[rows, width]``; consumes ``direction.denominator``."""
        width, unit = gradient.shape[1], self._coarse_unit
        if self.level == 0:
            quotient = torch.div(direction.numerator, direction.denominator, out=direction.denominator)
            return quotient.mul_(correction.root * correction.mean)
        if self.detail_guard == "off":
            inverse_root = reciprocal_times(direction.denominator, correction.root * correction.mean)
            shift = torch.sub(direction.numerator, coarse).mul_(unit).mul_(inverse_root)
            update = spread_blocks(shift, self.level, width)
            return update.addcmul_(gradient, spread_blocks(inverse_root, self.level, width))
        inverse_root = reciprocal_times(direction.denominator, correction.root)
        mean = torch.mul(coarse, inverse_root).mul_(unit)
        running_mean = torch.mul(direction.numerator, inverse_root).mul_(correction.mean * unit)
        update = spread_blocks(mean.neg_(), self.level, width)
        update.addcmul_(gradient, spread_blocks(inverse_root, self.level, width))
        update.clamp_(-DETAIL_BOUND, DETAIL_BOUND)
        return update.add_(spread_blocks(running_mean, self.level, width))
