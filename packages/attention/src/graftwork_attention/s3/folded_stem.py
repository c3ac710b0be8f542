"""The stem's convolution of the smoothed half, done in the spectrum.

That half is linear after a linear map, so that kernel L ``[dim, frequencies]`` and taps W
``[out, dim, width]`` make one kernel (arXiv:2408.08567 does both in turn):

    G[f, g, o] = sum over channels k of segment g, and taps t, of  L[k, f] W[o, k, t] exp(2 pi i f t / N)
    convolution of m = inverse real FFT of  sum over g of  U[g, f] G[f, g, o]

with taps numbered from the middle one. That convolution goes round, while the stem's sees zeros beyond the
sequence: what the ends see of m beyond them is computed from a few weighted sums over frequency, and
subtracted. The result is the same but for rounding; 3 dim multiplications a token and output channel are
saved, m itself and its concatenation with x are never made, and G costs 3 N dim^2 once a change of weights.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def folded_kernel(kernel: Tensor, taps: Tensor, segments: int, length: int) -> Tensor:
    """G, ``[frequencies, segments, 2 * out]``, the real parts of all outputs before the imaginary ones.

    The turns by taps go into the kernel, so that all is one product of real matrices a segment, which writes
    G and nothing larger. It is kept in the order in which its products read it.

    Args:
        kernel: ``[dim, frequencies, 2]``.
        taps: ``[out, dim, width]`` of an odd width.
        segments: of the smoother.
        length: of its transforms.
    """
    out, _, width = taps.shape
    turns = _turned(torch.arange(width, device=taps.device) - width // 2, length, kernel)
    turned = torch.view_as_real(torch.view_as_complex(kernel)[:, None] * turns)
    of_channels = turned.reshape(segments, -1, kernel.shape[1] * 2)
    of_taps = taps.permute(1, 2, 0).reshape(segments, -1, out)
    return (of_channels.transpose(1, 2) @ of_taps).view(segments, -1, 2 * out).transpose(0, 1).contiguous()


def folded_convolution(spectra: Tensor, folded: Tensor) -> Tensor:
    """The spectrum of the circular convolution, ``[batch, out, frequencies]``.

    Args:
        spectra: U, ``[batch, segments, frequencies]``.
        folded: G.
    """
    batch, out = len(spectra), folded.shape[2] // 2
    # Real and imaginary parts of U as rows of their own: products of complex matrices copy each of them.
    rows = torch.cat(torch.view_as_real(spectra).unbind(-1)).permute(2, 0, 1).contiguous()
    products = rows @ folded
    of_real, of_imaginary = products[:, :batch], products[:, batch:]
    return torch.complex(
        of_real[..., :out] - of_imaginary[..., out:], of_real[..., out:] + of_imaginary[..., :out]
    ).permute(1, 2, 0)


def beyond_the_ends(
    spectra: Tensor, kernel: Tensor, taps: Tensor, length: int, tokens: int
) -> tuple[Tensor, Tensor]:
    """What the circular convolution adds to the first and the last outputs, and the stem's does not.

    Returns:
        Each ``[batch, out, width // 2]``, for the outputs from 0 and up to ``tokens - 1``.
    """
    reach = taps.shape[2] // 2
    outside = torch.arange(reach, device=taps.device)
    values = _values_at(spectra, kernel, length, torch.cat((outside - reach, outside + tokens)))
    before, after = values[..., :reach], values[..., reach:]
    return (
        functional.conv1d(functional.pad(before, (0, 2 * reach)), taps),
        functional.conv1d(functional.pad(after, (2 * reach, 0)), taps),
    )


def _values_at(spectra: Tensor, kernel: Tensor, length: int, positions: Tensor) -> Tensor:
    """m at a few positions, ``[batch, dim, positions]``, by the sum that the inverse FFT is."""
    segments, frequencies = spectra.shape[1:]
    # Each frequency stands for its negative too, but for 0 and that of alternating signs.
    weight = torch.full((frequencies,), 2 / length, device=kernel.device, dtype=kernel.dtype)
    weight[0] = 1 / length
    if length % 2 == 0:
        weight[-1] = 1 / length
    turned = (spectra * weight)[:, :, None] * _turned(positions, length, kernel)
    # The real part of a product, as a sum of products of real numbers.
    conjugate = torch.view_as_real(turned.conj().resolve_conj()).flatten(-2)
    return (kernel.reshape(segments, -1, 2 * frequencies) @ conjugate.transpose(-1, -2)).flatten(1, 2)


def _turned(shift: Tensor, length: int, like: Tensor) -> Tensor:
    """``exp(2 pi i f shift / N)``, complex ``[shifts, frequencies]``."""
    frequency = torch.arange(length // 2 + 1, device=like.device)
    # Whole turns are taken off as whole numbers: large angles lose digits.
    angle = (2 * math.pi / length) * ((shift[:, None] * frequency) % length).to(like.dtype)
    return torch.polar(torch.ones_like(angle), angle)
