"""Windows continued beyond their end by their own Fourier series, in time: heads of a forecaster.

The discrete Fourier series of a window, evaluated after its end, is the window again (arXiv:2408.08567, the
listing of the forecaster): the prediction for a step is the value a whole number of windows before. So
nothing is transformed and nothing built: it is a gather. With only the lowest frequencies kept, the window is
first put through a low-pass filter.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graftwork_attention.precision import at_least_float32


def periodic(window: Tensor, steps: int) -> Tensor:
    """The steps after a window of which all frequencies are kept: the window, over and over.

    Args:
        window: ``[batch, time, channels]``.
        steps: how many are wanted.

    Returns:
        ``[batch, steps, channels]``.

    Raises:
        ValueError: ``steps`` is below 1, or the window has no time or another shape.

    >>> periodic(torch.tensor([[[1.0], [2.0], [3.0]]]), 5).flatten()
    tensor([1., 2., 3., 1., 2.])
    """
    _check(window)
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    return window[:, torch.arange(steps, device=window.device) % window.shape[1]]


def low_pass(window: Tensor, harmonics: int) -> Tensor:
    """A window of its mean and so many of its lowest frequencies.

    Args:
        window: ``[batch, time, channels]``.
        harmonics: whole periods in the window of the highest frequency kept; from ``time / 2`` on, nothing is
            left out.

    Raises:
        ValueError: ``harmonics`` is below 0, or the window has no time, another shape or whole numbers.
    """
    _check(window)
    if not window.is_floating_point():
        raise ValueError(f"the window must hold floating point numbers, got {window.dtype}")
    if harmonics < 0:
        raise ValueError(f"harmonics must be at least 0, got {harmonics}")
    time = window.shape[1]
    spectrum = torch.fft.rfft(at_least_float32(window), dim=1)[:, : harmonics + 1]
    filtered: Tensor = torch.fft.irfft(spectrum, n=time, dim=1)
    return filtered.to(window.dtype)


def fourier(window: Tensor, steps: int, harmonics: int) -> Tensor:
    """The steps after a window of which the lowest frequencies are kept; arguments of the other two."""
    return periodic(low_pass(window, harmonics), steps)


def _check(window: Tensor) -> None:
    if window.dim() != 3 or not window.shape[1]:
        raise ValueError(
            f"the window must be [batch, time, channels] with time of at least 1, got {list(window.shape)}"
        )
