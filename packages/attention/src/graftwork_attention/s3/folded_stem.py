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
    """G, complex ``[frequencies, segments, out]``, in the order in which its products read it.

    Args:
        kernel: ``[dim, frequencies, 2]``.
        taps: ``[out, dim, width]`` of an odd width.
        segments: of the smoother.
        length: of its transforms.
    """
    out, dim, width = taps.shape
    kernels = kernel.reshape(segments, dim // segments, -1).transpose(1, 2)
    of_taps = torch.unflatten(taps, 1, (segments, -1)).permute(1, 2, 3, 0).flatten(2)
    products = torch.unflatten(kernels @ of_taps, 1, (-1, 2)).reshape(segments, -1, 2 * width, out)
    # The sum over taps of complex products, as products of real matrices, two rows a frequency.
    turned = _turned(torch.arange(width, device=taps.device) - width // 2, length, kernel)
    real, imaginary = turned.real.T, turned.imag.T
    rows = torch.stack((torch.cat((real, -imaginary), -1), torch.cat((imaginary, real), -1)), dim=1)
    folded = rows @ products
    return torch.view_as_complex(folded.permute(1, 0, 3, 2).contiguous())


def folded_convolution(spectra: Tensor, folded: Tensor) -> Tensor:
    """The spectrum of the circular convolution, ``[batch, out, frequencies]``.

    Args:
        spectra: U, ``[batch, segments, frequencies]``.
        folded: G.
    """
    return (spectra.permute(2, 0, 1).contiguous() @ folded).permute(1, 2, 0)


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
