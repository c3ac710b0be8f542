"""The wavelet transform of a gradient along its rows, and the update of GWT.

Source: Gradient Wavelet Transform, arXiv:2501.07237. With (A, D_l .. D_1) the coefficients of the gradient G
at level l and (m, d) the host's numerator and denominator, both of A's shape, one step computes

    U = inverse(r_m r_d m / d, r_m r_d D_l / d_l, ..., r_m r_d D_1 / d_1),

where d_l = d and d_(j-1) repeats each entry of d_j twice. ``r_m`` and ``r_d`` are the bias corrections.

In the Haar basis all of it collapses. With B = 2^l columns a block, c = 2^(-l/2), and S the sum of G over a
block,

    A = c S,        U = r_m r_d (G + c (m - A)) / d,        m and d repeated B times along the row,

that is: inside each block the gradient's mean gives way to its running mean, and everything is divided by one
shared root. No coefficient arrays are made.

The published rule multiplies also the details, in the Haar basis ``G - c A``, by ``r_m``, though they carry
no running mean, and divides them by a root that may happen to be near zero. The guard leaves ``r_m`` out and
bounds their quotient:

    U = clip(r_d inverse(0, D_l / d_l, ...), -3, 3) + r_m r_d inverse(m / d, 0, ...).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor

from graftwork_optim_core.common.ranges import require_one_of, require_whole
from graftwork_optim_core.common.scalars import reciprocal_times
from graftwork_optim_core.numerics.haar import DETAIL_BOUND, block_count, block_sums, spread_blocks
from graftwork_optim_core.subspace.identity import corrected_quotient
from graftwork_optim_core.subspace.site import Site
from graftwork_optim_core.subspace.transform import BiasCorrection, Direction, GradientTransform, HaarBlocks
from graftwork_optim_core.wavelet.filter_bank import BOUNDARY_MODES, FilterBank

_DEEPEST = 16


@dataclass(frozen=True)
class WaveletTransform(GradientTransform):
    """Wavelet coefficients along the rows of a weight.

    A weight of more than two dimensions is taken as ``[shape[0], everything else]``: the last axis of a
    convolution is three pixels wide.

    Args:
        basis: an orthogonal wavelet by its name in PyWavelets: "haar", "db2", "sym4", ...
        level: number of halvings, 0 to 16; 0 is no transform at all.
        detail_guard: "auto" bounds the details by 3 roots and leaves the mean's bias correction out of them;
            "off" is the published rule.
        boundary: how a basis longer than Haar's continues a row: "zero", "constant", "reflect", "periodic" or
            "symmetric". Haar's blocks need no continuation; the last is filled with zeros.

    Raises:
        ValueError: an option is out of its range, or no such orthogonal wavelet.

    >>> [WaveletTransform(basis, level=2).coarse_shape((512, 1376)) for basis in ("haar", "db2")]
    [(512, 344), (512, 346)]
    """

    coordinates: ClassVar[tuple[str, ...]] = ("basis", "level", "boundary")

    basis: str = "haar"
    level: int = 2
    detail_guard: Literal["auto", "off"] = "auto"
    boundary: Literal["zero", "constant", "reflect", "periodic", "symmetric"] = "zero"

    def __post_init__(self) -> None:
        require_whole("level", self.level, 0, _DEEPEST)
        require_one_of("detail_guard", self.detail_guard, ("auto", "off"))
        require_one_of("boundary", self.boundary, BOUNDARY_MODES)
        if not self.is_haar:
            _ = self._bank  # refuses an unknown name now rather than at the first step

    @property
    def is_haar(self) -> bool:
        """Whether the closed form holds."""
        return self.basis in ("haar", "db1")

    @property
    def as_haar(self) -> HaarBlocks | None:
        """Level and guard where the closed form holds; None for a subclass, which may do something else."""
        exact = type(self) is WaveletTransform and (self.is_haar or self.level == 0)
        return HaarBlocks(self.level, self.detail_guard == "auto") if exact else None

    @cached_property
    def _bank(self) -> FilterBank:
        return FilterBank.named(self.basis)

    @property
    def column_block(self) -> int:
        """Columns a block, ``2 ** level``; all of them for bases whose supports overlap."""
        return 1 << self.level if self.is_haar or self.level == 0 else 0

    @property
    def _coarse_unit(self) -> float:
        return float(2.0 ** (-self.level / 2))

    def coarse_shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Return the shape of the coarse coefficients of a matrix."""
        if self.is_haar or self.level == 0:
            return (shape[0], block_count(shape[1], self.level))
        return (shape[0], self._bank.coefficient_widths(shape[1], self.level)[0])

    def compress(self, gradient: Tensor, site: Site) -> Tensor:
        """Return ``A``, the coarse coefficients; at level 0 the gradient itself."""
        if self.level == 0:
            return gradient
        if self.is_haar:
            return block_sums(gradient, self.level).mul_(self._coarse_unit)
        return self._bank.approximate(gradient, self.level, self.boundary)

    def expand(
        self, gradient: Tensor, coarse: Tensor, direction: Direction, correction: BiasCorrection, site: Site
    ) -> Tensor:
        """Return ``U`` ``[rows, width]``; consumes ``direction.denominator``."""
        if self.level == 0:
            return corrected_quotient(direction, correction)
        if not direction.details:
            return self._expand_smooth(corrected_quotient(direction, correction), gradient.shape[1])
        if direction.denominator is None:
            return self._expand_undivided(gradient, coarse, direction.numerator, correction)
        if self.is_haar:
            return self._expand_haar(gradient, coarse, direction.numerator, direction.denominator, correction)
        return self._expand_in_bank(gradient, direction.numerator, direction.denominator, correction)

    def _expand_smooth(self, coefficients: Tensor, width: int) -> Tensor:
        """Return the inverse of coarse coefficients alone, all details zero."""
        if self.is_haar:
            return spread_blocks(coefficients.mul_(self._coarse_unit), self.level, width)
        return self._bank.synthesize([coefficients, *[None] * self.level], width)

    def _expand_undivided(
        self, gradient: Tensor, coarse: Tensor, numerator: Tensor, correction: BiasCorrection
    ) -> Tensor:
        """Put the numerator in the place of the coarse coefficients; the details stay as they are."""
        if self.is_haar:
            shift = torch.sub(numerator, coarse).mul_(self._coarse_unit)
            update = spread_blocks(shift, self.level, gradient.shape[1]).add_(gradient)
        else:
            details = self._bank.analyze(gradient, self.level, self.boundary)[1:]
            update = self._bank.synthesize([numerator, *details], gradient.shape[1])
        return update.mul_(correction.root * correction.mean)

    def _expand_haar(
        self,
        gradient: Tensor,
        coarse: Tensor,
        numerator: Tensor,
        denominator: Tensor,
        correction: BiasCorrection,
    ) -> Tensor:
        width, unit = gradient.shape[1], self._coarse_unit
        if self.detail_guard == "off":
            inverse_root = reciprocal_times(denominator, correction.root * correction.mean)
            shift = torch.sub(numerator, coarse).mul_(unit).mul_(inverse_root)
            update = spread_blocks(shift, self.level, width)
            return update.addcmul_(gradient, spread_blocks(inverse_root, self.level, width))
        inverse_root = reciprocal_times(denominator, correction.root)
        mean = torch.mul(coarse, inverse_root).mul_(unit)
        running_mean = torch.mul(numerator, inverse_root).mul_(correction.mean * unit)
        update = spread_blocks(mean.neg_(), self.level, width)
        update.addcmul_(gradient, spread_blocks(inverse_root, self.level, width))
        update.clamp_(-DETAIL_BOUND, DETAIL_BOUND)
        return update.add_(spread_blocks(running_mean, self.level, width))

    def _expand_in_bank(
        self, gradient: Tensor, numerator: Tensor, denominator: Tensor, correction: BiasCorrection
    ) -> Tensor:
        width = gradient.shape[1]
        details = self._bank.analyze(gradient, self.level, self.boundary)[1:]
        inverse_root = reciprocal_times(denominator, correction.root)
        for detail, root in zip(details, self._bank.spread(inverse_root, details), strict=True):
            detail.mul_(root)
        smooth = torch.mul(numerator, inverse_root).mul_(correction.mean)
        if self.detail_guard == "off":
            return self._bank.synthesize([smooth, *(d.mul_(correction.mean) for d in details)], width)
        rough = self._bank.synthesize([None, *details], width).clamp_(-DETAIL_BOUND, DETAIL_BOUND)
        return rough.add_(self._bank.synthesize([smooth, *[None] * len(details)], width))
