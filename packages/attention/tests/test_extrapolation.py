"""Continuations of windows against the Fourier series that they are."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from graftwork_attention.extrapolation import fourier, low_pass, periodic


def series(window: Tensor, steps: int, harmonics: int) -> Tensor:
    """amplitude cos(2 pi f t + phase) after the window, summed over its lowest frequencies one by one."""
    time = window.shape[1]
    spectrum = torch.fft.fft(window, dim=1) / time
    lowest = sorted(range(time), key=lambda f: min(f, time - f))[: 1 + 2 * harmonics]
    t = torch.arange(time, time + steps, dtype=window.dtype)
    total = torch.zeros(window.shape[0], steps, window.shape[2], dtype=window.dtype)
    for f in lowest:
        # Frequencies above the half are negative ones.
        turns = (f if f <= time / 2 else f - time) / time
        bin_ = spectrum[:, f, None]
        total += bin_.abs() * torch.cos(2 * math.pi * turns * t[None, :, None] + bin_.angle())
    return total


@pytest.mark.parametrize(("time", "steps"), [(12, 5), (12, 12), (12, 40), (13, 40)])
def test_all_frequencies_repeat_the_window(time: int, steps: int) -> None:
    window = torch.randn(2, time, 3, dtype=torch.float64)
    torch.testing.assert_close(periodic(window, steps), series(window, steps, time), rtol=0, atol=1e-12)
    torch.testing.assert_close(fourier(window, steps, time // 2), periodic(window, steps))


@pytest.mark.parametrize("time", [12, 13])
@pytest.mark.parametrize("harmonics", [0, 1, 4])
def test_fewer_frequencies_are_a_low_pass_filter(time: int, harmonics: int) -> None:
    window = torch.randn(2, time, 3, dtype=torch.float64)
    torch.testing.assert_close(
        fourier(window, 30, harmonics), series(window, 30, harmonics), rtol=0, atol=1e-12
    )
    spectrum = torch.fft.rfft(low_pass(window, harmonics), dim=1).abs()
    assert spectrum[:, harmonics + 1 :].max() < 1e-12
    torch.testing.assert_close(
        spectrum[:, : harmonics + 1], torch.fft.rfft(window, dim=1).abs()[:, : harmonics + 1]
    )


def test_gradients_flow_to_the_steps_they_come_from_and_half_precision_is_kept() -> None:
    window = torch.randn(1, 4, 1, requires_grad=True)
    periodic(window, 6).sum().backward()
    assert window.grad is not None
    assert window.grad.flatten().tolist() == [2, 2, 1, 1]
    assert fourier(window.bfloat16(), 3, 1).dtype == torch.bfloat16


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        periodic(torch.zeros(1, 4, 1), 0)
    with pytest.raises(ValueError, match="harmonics must be at least 0, got -1"):
        low_pass(torch.zeros(1, 4, 1), -1)
    # Two dimensions would otherwise be read as a batch of times.
    for shape in ((4, 1), (1, 0, 2), (1, 1, 4, 1)):
        with pytest.raises(ValueError, match=r"must be \[batch, time, channels\] with time of at least 1"):
            periodic(torch.zeros(shape), 2)
        with pytest.raises(ValueError, match=r"must be \[batch, time, channels\] with time of at least 1"):
            fourier(torch.zeros(shape), 2, 1)
    with pytest.raises(ValueError, match=r"floating point numbers, got torch\.int64"):
        low_pass(torch.arange(4).view(1, 4, 1), 1)
