"""The Fourier convolution against what it has to be: means, shifts, and sums over the sequence."""

from __future__ import annotations

import cmath
import math

import pytest
import torch

from graftwork_attention.s3.spectrum import FourierConvolution, filtered, segment_spectra


def convolution(dim: int, length: int, segments: int, transfer: torch.Tensor) -> FourierConvolution:
    """One whose transfer function, complex ``[dim or 1, frequencies]``, is given."""
    made = FourierConvolution(dim, length, segments=segments).double()
    with torch.no_grad():
        made.kernel.copy_(torch.view_as_real(transfer.to(torch.complex128).expand(dim, -1).contiguous()))
    return made


@pytest.mark.parametrize("length", [8, 9])
def test_a_kernel_of_ones_repeats_the_means_of_the_segments(length: int) -> None:
    x = torch.randn(2, length, 6, dtype=torch.float64)
    smooth = convolution(6, length, 2, torch.ones(1, length // 2 + 1))(x)
    means = x.unflatten(-1, (2, 3)).mean(-1).repeat_interleave(3, -1)
    torch.testing.assert_close(smooth.transpose(1, 2), means)


def test_a_kernel_of_turns_shifts_by_one() -> None:
    length = 10
    turns = torch.tensor([[cmath.exp(-2j * math.pi * f / length) for f in range(6)]])
    x = torch.randn(2, length, 6, dtype=torch.float64)
    smooth = convolution(6, length, 6, turns)(x)
    torch.testing.assert_close(smooth.transpose(1, 2), x.roll(1, 1))


@pytest.mark.parametrize(("tokens", "length"), [(7, 7), (8, 8), (5, 8)])
def test_a_segment_a_channel_is_a_circular_convolution_over_the_whole_length(
    tokens: int, length: int
) -> None:
    taps = torch.randn(3, length, dtype=torch.float64)
    x = torch.randn(2, tokens, 3, dtype=torch.float64)
    smooth = convolution(3, length, 3, torch.fft.rfft(taps))(x)
    expected = torch.zeros(2, 3, tokens, dtype=torch.float64)
    for t in range(tokens):
        for s in range(tokens):
            expected[:, :, t] += taps[:, (t - s) % length] * x[:, s]
    torch.testing.assert_close(smooth, expected)


def test_imaginary_parts_that_change_nothing_have_no_gradient() -> None:
    made = FourierConvolution(4, 8, segments=2)
    made(torch.randn(2, 8, 4)).square().sum().backward()
    gradient = made.kernel.grad
    assert gradient is not None
    # Frequency 0 and the last, of alternating signs; the others have one.
    assert gradient[:, [0, -1], 1].abs().max() < 1e-6
    assert gradient[:, 1:-1].abs().min() > 1e-6


def test_tiling_the_spectra_is_repeating_them_under_another_order_of_channels() -> None:
    dim, segments = 6, 2
    kernel = torch.randn(dim, 5, 2, dtype=torch.float64)
    spectra = segment_spectra(torch.randn(2, 8, dim, dtype=torch.float64), segments, 8)
    listed = spectra.repeat(1, dim // segments, 1) * torch.view_as_complex(kernel)
    order = torch.arange(dim).unflatten(0, (-1, segments)).T.flatten()
    torch.testing.assert_close(filtered(spectra, kernel[order].contiguous()), listed[:, order])


def test_a_compiler_sees_real_arithmetic_of_equal_result(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = torch.randn(6, 5, 2, dtype=torch.float64)
    spectra = segment_spectra(torch.randn(2, 8, 6, dtype=torch.float64), 3, 8)
    eager = filtered(spectra, kernel)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(filtered(spectra, kernel), eager)


@pytest.mark.parametrize(
    ("init", "deviation"), [("kaiming-normal", 0.125), ("kaiming-uniform", 0.125), ("scaled", 1 / 32)]
)
def test_the_kernel_s_deviation_is_that_of_its_initialisation(init: str, deviation: float) -> None:
    for length in (1024, 4096) if init != "scaled" else (1024,):
        kernel = FourierConvolution(64, length, segments=8, kernel_init=init).kernel
        assert kernel.std().item() == pytest.approx(deviation, rel=0.02)


@pytest.mark.parametrize(("old", "new"), [(16, 32), (32, 16), (15, 21), (16, 15)])
def test_another_length_keeps_smooth_transfer_functions(old: int, new: int) -> None:
    # The mean of a token and the one before it: cycles per token say the same for every length.
    def transfer(length: int) -> torch.Tensor:
        angle = -2 * math.pi * torch.arange(length // 2 + 1, dtype=torch.float64) / length
        return ((1 + torch.polar(torch.ones_like(angle), angle)) / 2)[None]

    made = convolution(4, old, 2, transfer(old))
    made.resize_length(new)
    x = torch.randn(1, new, 4, dtype=torch.float64)
    wanted = convolution(4, new, 2, transfer(new))(x)
    assert (made(x) - wanted).norm() < 0.05 * wanted.norm()
    assert made.kernel.shape == (4, new // 2 + 1, 2)
    assert made.kernel.requires_grad
