"""The Fourier convolution of S3: a learned circular convolution over the whole sequence.

Source: arXiv:2408.08567, equations and listing of the smoother. With x ``[batch, tokens, dim]``, r segments
of c = dim / r channels and length N, the largest number of tokens:

    u = mean of x over each segment               [batch, r, tokens]
    U = real FFT of u, extended by zeros to N      [batch, r, F],  F = N // 2 + 1
    m = inverse real FFT of U[segment of k] L[k]   [batch, dim, tokens],  for every channel k

L is the learned kernel. Only r spectra are made, and none is repeated in memory. Results are channels first,
as FFTs and the convolution after them want it. Everything is computed in float32 (float64 for float64
inputs): half-precision FFTs exist on few devices.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from graftwork_attention.precision import at_least_float32
from graftwork_attention.s3.presets import KernelInit


def frequency_count(length: int) -> int:
    """How many frequencies a real transform of that length has."""
    return length // 2 + 1


def segment_spectra(x: Tensor, segments: int, length: int) -> Tensor:
    """U, complex ``[batch, segments, frequencies]``, of ``x [batch, tokens, dim]``."""
    means = torch.unflatten(at_least_float32(x), -1, (segments, -1)).mean(-1)
    spectra: Tensor = torch.fft.rfft(means.transpose(1, 2).contiguous(), n=length)
    return spectra


def filtered(spectra: Tensor, kernel: Tensor) -> Tensor:
    """``spectra [batch, segments, frequencies]`` times ``kernel [dim, frequencies, 2]``, by segment.

    Returns:
        complex ``[batch, dim, frequencies]``.
    """
    by_segment = torch.unflatten(kernel, 0, (spectra.shape[1], -1))
    if not torch.compiler.is_compiling():
        return (spectra[:, :, None] * torch.view_as_complex(by_segment)).flatten(1, 2)
    # Inductor fuses real arithmetic and has no complex one; eagerly the complex product is half the time.
    real, imaginary = torch.view_as_real(spectra)[:, :, None].unbind(-1)
    kernel_real, kernel_imaginary = by_segment.unbind(-1)
    product = torch.stack(
        (
            real * kernel_real - imaginary * kernel_imaginary,
            real * kernel_imaginary + imaginary * kernel_real,
        ),
        dim=-1,
    )
    return torch.view_as_complex(product).flatten(1, 2)


class FourierConvolution(nn.Module):
    """A learned circular convolution of length ``max_len`` from the means of segments to every channel.

    Args:
        dim: width of a token.
        max_len: the length that the kernel is defined for.
        segments: divides ``dim``.
        kernel_init: ``kaiming-normal`` and ``kaiming-uniform`` have standard deviation ``dim ** -0.5``
            whatever the length, ``scaled`` has ``max_len ** -0.5``.

    Attributes:
        kernel: ``[dim, frequencies, 2]``, real and imaginary parts. The imaginary parts at frequency 0 and,
            for even lengths, at the last one change nothing.
    """

    def __init__(
        self, dim: int, max_len: int, *, segments: int, kernel_init: KernelInit = "kaiming-normal"
    ) -> None:
        super().__init__()
        self.max_len, self.segments, self.kernel_init = max_len, segments, kernel_init
        self.kernel = nn.Parameter(torch.empty(dim, frequency_count(max_len), 2))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the kernel anew."""
        dim = self.kernel.shape[0]
        if self.kernel_init == "kaiming-uniform":
            nn.init.uniform_(self.kernel, -math.sqrt(3 / dim), math.sqrt(3 / dim))
        else:
            nn.init.normal_(self.kernel, std=(self.max_len if self.kernel_init == "scaled" else dim) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Smooth ``x [batch, tokens, dim]``, zero at padding: ``[batch, dim, tokens]``, the dtype of x."""
        spectra = segment_spectra(x, self.segments, self.max_len)
        return self.back(filtered(spectra, self.kernel.to(spectra.real.dtype)), x)

    def back(self, spectra: Tensor, x: Tensor) -> Tensor:
        """The inverse transform of ``spectra [batch, any, frequencies]``, as long as x and of its dtype."""
        whole: Tensor = torch.fft.irfft(spectra, n=self.max_len)
        return whole[..., : x.shape[1]].to(x.dtype)

    def resize_length(self, max_len: int) -> None:
        """Take the kernel to another length, interpolated linearly over frequency."""
        with torch.no_grad():
            kernel = resampled(self.kernel, self.max_len, max_len)
        self.kernel, self.max_len = nn.Parameter(kernel, self.kernel.requires_grad), max_len

    def extra_repr(self) -> str:
        return f"dim={self.kernel.shape[0]}, max_len={self.max_len}, segments={self.segments}"


def resampled(kernel: Tensor, old: int, new: int) -> Tensor:
    """``kernel [dim, frequencies, 2]`` of a length ``old`` at the frequencies of a length ``new``.

    Frequencies are cycles per token, so that the means of a few tokens stay such.
    """
    place = torch.arange(frequency_count(new), device=kernel.device, dtype=torch.float64) * (old / new)
    place = place.clamp(max=frequency_count(old) - 1)
    below = place.floor().long()
    above = (below + 1).clamp(max=frequency_count(old) - 1)
    share = (place - below).to(kernel.dtype)[:, None]
    return torch.lerp(kernel[:, below], kernel[:, above], share)
