"""The closed form of the Haar transform against a transform that makes every coefficient."""

from __future__ import annotations

import math

import pytest
import pywt
import torch
from torch import Tensor

from graftwork_optim_core.subspace.transform import BiasCorrection, Direction
from graftwork_optim_core.wavelet.transform import DETAIL_BOUND, HaarTransform

LEVELS = [1, 2, 3, 4]


def analysis(signal: Tensor, level: int) -> tuple[Tensor, list[Tensor]]:
    """Return the approximation and the details, coarsest first, with zero extension on the right."""
    details: list[Tensor] = []
    for _ in range(level):
        if signal.shape[1] % 2:
            signal = torch.nn.functional.pad(signal, (0, 1))
        even, odd = signal[:, 0::2], signal[:, 1::2]
        details.insert(0, (even - odd) / math.sqrt(2))
        signal = (even + odd) / math.sqrt(2)
    return signal, details


def synthesis(approximation: Tensor, details: list[Tensor], width: int) -> Tensor:
    """Invert :func:`analysis`, cutting each level to the width of its detail and the result to ``width``."""
    for detail in details:
        approximation = approximation[:, : detail.shape[1]]
        pair = torch.stack([approximation + detail, approximation - detail], dim=-1) / math.sqrt(2)
        approximation = pair.flatten(-2)
    return approximation[:, :width]


@pytest.mark.parametrize("level", LEVELS)
def test_p1_reference_reconstructs_and_preserves_energy_at_every_width(level: int) -> None:
    for width in range(1, 65):
        gradient = torch.randn(2, width, dtype=torch.float64)
        approximation, details = analysis(gradient, level)
        assert (synthesis(approximation, details, width) - gradient).abs().max() < 1e-12
        energy = approximation.square().sum() + sum(detail.square().sum() for detail in details)
        assert abs(energy - gradient.square().sum()) < 1e-12 * max(1.0, float(energy))


@pytest.mark.parametrize("level", LEVELS)
def test_reference_agrees_with_pywavelets(level: int) -> None:
    for width in (1, 5, 13, 16, 64, 171):
        gradient = torch.randn(2, width, dtype=torch.float64)
        approximation, details = analysis(gradient, level)
        expected = gradient.numpy()
        for detail in reversed(details):
            expected, expected_detail = pywt.dwt(expected, "haar", mode="zero", axis=-1)
            torch.testing.assert_close(detail, torch.from_numpy(expected_detail), rtol=0, atol=1e-13)
        torch.testing.assert_close(approximation, torch.from_numpy(expected), rtol=0, atol=1e-13)


@pytest.mark.parametrize("level", LEVELS)
def test_p1_closed_form_gives_back_the_gradient_at_every_width(level: int) -> None:
    transform = HaarTransform(level, "off")
    for width in range(1, 65):
        gradient = torch.randn(2, width, dtype=torch.float64)
        coarse = transform.compress(gradient)
        torch.testing.assert_close(coarse, analysis(gradient, level)[0], rtol=0, atol=1e-13)
        nothing_done = Direction(coarse, torch.ones_like(coarse))
        back = transform.expand(gradient, coarse, nothing_done, BiasCorrection(1.0, 1.0))
        assert (back - gradient).abs().max() < 1e-12


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("width", [1, 5, 13, 16, 171])
def test_section_4_closed_form_is_the_transform_of_the_divided_coefficients(width: int, level: int) -> None:
    gradient = torch.randn(3, width, dtype=torch.float64)
    approximation, details = analysis(gradient, level)
    numerator, denominator = torch.randn_like(approximation), torch.rand_like(approximation) + 0.5
    divided, divisor = [], denominator
    for detail in details:
        divisor = divisor[:, : detail.shape[1]]
        divided.append(detail / divisor)
        divisor = divisor.repeat_interleave(2, dim=1)
    expected = synthesis(numerator / denominator, divided, width) * (0.5 * 4.0)
    transform = HaarTransform(level, "off")
    coarse = transform.compress(gradient)
    update = transform.expand(
        gradient, coarse, Direction(numerator, denominator.clone()), BiasCorrection(0.5, 4.0)
    )
    torch.testing.assert_close(update, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("level", LEVELS)
def test_the_guard_bounds_the_details_and_only_them(level: int) -> None:
    gradient = torch.randn(4, 64, dtype=torch.float64)
    block = 2**level
    transform = HaarTransform(level, "auto")
    coarse = transform.compress(gradient)
    numerator, denominator = torch.randn_like(coarse) * 100, torch.rand_like(coarse) * 0.2 + 0.1
    mean_correction, root_correction = 10.0, 0.7
    update = transform.expand(
        gradient,
        coarse,
        Direction(numerator, denominator.clone()),
        BiasCorrection(mean_correction, root_correction),
    )
    blocks = gradient.view(4, -1, block)
    details = (blocks - blocks.mean(-1, keepdim=True)) * root_correction / denominator.unsqueeze(-1)
    running = mean_correction * root_correction * numerator / denominator / math.sqrt(block)
    expected = details.clamp(-DETAIL_BOUND, DETAIL_BOUND) + running.unsqueeze(-1)
    assert (details.abs() > DETAIL_BOUND).any()
    torch.testing.assert_close(update, expected.flatten(1), rtol=1e-12, atol=1e-12)


def test_coarse_shapes() -> None:
    transform = HaarTransform(2)
    assert transform.coarse_shape((7, 10)) == (7, 3)
    assert transform.coarse_shape((10,)) == (3,)
    assert transform.coarse_shape((8, 3, 3, 3)) == (8, 7)
    assert transform.coarse_shape(()) == ()
    assert HaarTransform(0).coarse_shape((8, 3, 3, 3)) == (8, 3, 3, 3)
