"""The stem of S3: a short convolution that mixes smoothed and given tokens, normalised, activated.

Source: arXiv:2408.08567, listing of the smoother. There is no residual inside; the block around adds x.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from graftwork_attention.kernels.stem_epilogue import stem_epilogue
from graftwork_attention.plain_maps import is_plain
from graftwork_attention.precision import autocast_is_on
from graftwork_attention.s3.folded_stem import beyond_the_ends, folded_convolution, folded_kernel
from graftwork_attention.s3.norms import StemNorm
from graftwork_attention.s3.presets import Activation, FoldStem, Norm
from graftwork_attention.s3.spectrum import FourierConvolution, segment_spectra

LARGEST_FOLDED_KERNEL = 2**26
"""Bytes of it a layer that are not worth a few per cent of time."""

_Cache = tuple[Tensor, Tensor, Tensor]


class Stem(nn.Module):
    """Convolution over (smoothed, given) channels, normalisation, activation, dropout.

    Args:
        dim: width of a token.
        max_len: the largest number of tokens.
        smooths: whether there are smoothed tokens beside the given ones.
        stem_kernel: taps of the convolution, odd.
        norm: see :class:`~graftwork_attention.s3.norms.StemNorm`.
        norm_eps: added to variances.
        activation: after the normalisation.
        dropout: probability of it.
        fold: when to convolve the smoothed half in the spectrum; see :func:`folds`.
    """

    def __init__(
        self,
        dim: int,
        max_len: int,
        *,
        smooths: bool,
        stem_kernel: int,
        norm: Norm,
        norm_eps: float,
        activation: Activation,
        dropout: float,
        fold: FoldStem,
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(2 * dim if smooths else dim, dim, stem_kernel, padding=stem_kernel // 2)
        self.norm = StemNorm(norm, dim, max_len, eps=norm_eps)
        self.activation: Activation = activation
        self.dropout, self.fold = dropout, fold
        self._folded: _Cache | None = None

    def forward(self, x: Tensor, mask: Tensor | None, smoothing: FourierConvolution | None) -> Tensor:
        """Mix ``x [batch, tokens, dim]``, zero at padding, with what ``smoothing`` makes of it.

        Returns:
            ``[batch, tokens, dim]``; what it has at padding is finite and means nothing.
        """
        if smoothing is None:
            mixed = self.convolution(x.transpose(1, 2))
        elif self._folds(x, mask, smoothing):
            mixed = self._convolved_in_the_spectrum(x, smoothing)
        else:
            smooth = smoothing(x)
            if mask is not None:
                # Its end would reach into the tokens before it. What stands there is finite, as x is zero
                # there: a product will do, and takes a quarter of a selection's time.
                smooth = smooth * mask[:, None].to(smooth.dtype)
            mixed = self.convolution(torch.cat((smooth, x.transpose(1, 2)), dim=1))
        h = mixed.transpose(1, 2)
        scale, shift = self.norm(h, mask)
        return stem_epilogue(
            h,
            scale,
            shift,
            None,
            norm=self.norm.axis,
            activation=self.activation,
            eps=self.norm.eps,
            dropout=self.dropout if self.training else 0.0,
        )

    def _folds(self, x: Tensor, mask: Tensor | None, smoothing: FourierConvolution) -> bool:
        # Padding is zeroed between the two, and with half precision or a compiler there is nothing to gain.
        possible = mask is None and x.dtype == self.convolution.weight.dtype and x.shape[1] > self.reach
        if self.fold == "never" or not possible or x.dtype not in (torch.float32, torch.float64):
            return False
        if autocast_is_on(x) or not is_plain(self.convolution):
            return False
        return self.fold == "always" or folds(x, smoothing, learning=torch.is_grad_enabled())

    @property
    def reach(self) -> int:
        """How many tokens on either side the convolution sees."""
        return self.convolution.kernel_size[0] // 2

    def _convolved_in_the_spectrum(self, x: Tensor, smoothing: FourierConvolution) -> Tensor:
        length, reach = smoothing.max_len, self.reach
        spectra = segment_spectra(x, smoothing.segments, length)
        of_smooth, of_given = self.convolution.weight.chunk(2, dim=1)
        folded = self._folded_kernel(of_smooth, smoothing)
        given = nn.functional.conv1d(x.transpose(1, 2), of_given, self.convolution.bias, padding=reach)
        mixed = given + smoothing.back(folded_convolution(spectra, folded), x)
        if reach:
            first, last = beyond_the_ends(spectra, smoothing.kernel, of_smooth, length, x.shape[1])
            mixed[..., :reach] -= first
            mixed[..., -reach:] -= last
        return mixed

    def _folded_kernel(self, taps: Tensor, smoothing: FourierConvolution) -> Tensor:
        """G, kept between calls that do not learn as long as the weights are equal.

        Equal, not unchanged: averages of weights are often written past torch's version counters, and
        comparing costs a few reads a weight.
        """
        kernel = smoothing.kernel
        if torch.is_grad_enabled():
            self._folded = None
            return folded_kernel(kernel, taps, smoothing.segments, smoothing.max_len)
        if self._folded is not None:
            of_kernel, of_taps, folded = self._folded
            if _same(of_kernel, kernel) and _same(of_taps, taps):
                return folded
        folded = folded_kernel(kernel, taps, smoothing.segments, smoothing.max_len)
        self._folded = (kernel.clone(), taps.clone(), folded)
        return folded

    def __getstate__(self) -> dict[str, Any]:
        # Copies and files of the module make their own.
        return {**self.__dict__, "_folded": None}


def folds(x: Tensor, smoothing: FourierConvolution, *, learning: bool) -> bool:
    """Whether the folded stem is quicker for ``x [batch, tokens, dim]``, and its kernel no burden.

    Read off ``benchmarks/stem_time.py`` on a CPU; elsewhere nothing was measured. Folding costs by the length
    of the transforms and saves by that of x. A kernel made anew for each call, and differentiated, has to be
    shared by more samples than one that is kept.

    Args:
        x: the input.
        smoothing: what is folded in.
        learning: gradients are taken.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    batch, tokens, dim = x.shape
    bytes_of_kernel = smoothing.segments * dim * smoothing.max_len * x.element_size()
    if dim < 256 or 2 * tokens < smoothing.max_len or bytes_of_kernel > LARGEST_FOLDED_KERNEL:
        return False
    return batch * dim >= (4096 if learning else 1024)


def _same(kept: Tensor, now: Tensor) -> bool:
    return (
        kept.shape == now.shape and kept.dtype == now.dtype and kept.device == now.device and kept.equal(now)
    )
