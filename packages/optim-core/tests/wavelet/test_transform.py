"""The closed form of the Haar transform against a transform that makes every coefficient."""

from __future__ import annotations

import math
import warnings

import pytest
import pywt
import torch
from torch import Tensor

from graftwork_optim_core.common.sharding import Rows
from graftwork_optim_core.numerics.haar import DETAIL_BOUND
from graftwork_optim_core.subspace.site import Site
from graftwork_optim_core.subspace.transform import BiasCorrection, Direction
from graftwork_optim_core.wavelet.transform import WaveletTransform

LEVELS = [1, 2, 3, 4]
SITE = Site((1, 1), Rows(torch.zeros(1, 1)))
"""A wavelet transform asks nothing of the site."""


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
    transform = WaveletTransform("haar", level, "off")
    for width in range(1, 65):
        gradient = torch.randn(2, width, dtype=torch.float64)
        coarse = transform.compress(gradient, SITE)
        torch.testing.assert_close(coarse, analysis(gradient, level)[0], rtol=0, atol=1e-13)
        nothing_done = Direction(coarse, torch.ones_like(coarse))
        back = transform.expand(gradient, coarse, nothing_done, BiasCorrection(1.0, 1.0), SITE)
        assert (back - gradient).abs().max() < 1e-12


@pytest.mark.parametrize("level", [1, 3])
@pytest.mark.parametrize("width", [1, 13, 16, 171])
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
    transform = WaveletTransform("haar", level, "off")
    coarse = transform.compress(gradient, SITE)
    update = transform.expand(
        gradient, coarse, Direction(numerator, denominator.clone()), BiasCorrection(0.5, 4.0), SITE
    )
    torch.testing.assert_close(update, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("level", LEVELS)
def test_the_guard_bounds_the_details_and_only_them(level: int) -> None:
    gradient = torch.randn(4, 64, dtype=torch.float64)
    block = 2**level
    transform = WaveletTransform("haar", level, "auto")
    coarse = transform.compress(gradient, SITE)
    numerator, denominator = torch.randn_like(coarse) * 100, torch.rand_like(coarse) * 0.2 + 0.1
    mean_correction, root_correction = 10.0, 0.7
    update = transform.expand(
        gradient,
        coarse,
        Direction(numerator, denominator.clone()),
        BiasCorrection(mean_correction, root_correction),
        SITE,
    )
    blocks = gradient.view(4, -1, block)
    details = (blocks - blocks.mean(-1, keepdim=True)) * root_correction / denominator.unsqueeze(-1)
    running = mean_correction * root_correction * numerator / denominator / math.sqrt(block)
    expected = details.clamp(-DETAIL_BOUND, DETAIL_BOUND) + running.unsqueeze(-1)
    assert (details.abs() > DETAIL_BOUND).any()
    torch.testing.assert_close(update, expected.flatten(1), rtol=1e-12, atol=1e-12)


def test_coarse_shapes() -> None:
    transform = WaveletTransform("haar", 2)
    assert transform.coarse_shape((7, 10)) == (7, 3)
    assert transform.coarse_shape((1, 10)) == (1, 3)
    assert WaveletTransform("haar", 0).coarse_shape((8, 27)) == (8, 27)


@pytest.mark.parametrize(("basis", "level"), [("db2", 1), ("sym4", 3)])
@pytest.mark.parametrize("boundary", ["zero", "symmetric", "periodic", "constant", "reflect"])
def test_another_basis_divides_pywavelets_coefficients(basis: str, boundary: str, level: int) -> None:
    """Section 3 written out with PyWavelets: A by its own quotient, every detail by its share of the root."""
    modes = {"zero": "zero", "symmetric": "symmetric", "periodic": "periodic", "constant": "constant"}
    mode = modes.get(boundary, "reflect")
    transform = WaveletTransform(basis, level, "off", boundary)  # type: ignore[arg-type]
    for width in (9, 40, 171):
        gradient = torch.randn(3, width, dtype=torch.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyWavelets says that the row is short for the level
            approximation, *details = pywt.wavedec(gradient.numpy(), basis, mode=mode, level=level, axis=-1)
        coarse = transform.compress(gradient, SITE)
        torch.testing.assert_close(coarse, torch.from_numpy(approximation), rtol=0, atol=1e-12)
        numerator, denominator = torch.randn_like(coarse), torch.rand_like(coarse) + 0.5
        divided, divisor = [], denominator.numpy()
        for detail in details:
            divisor = divisor[:, : detail.shape[1]]
            divided.append(detail / divisor)
            divisor = divisor.repeat(2, axis=1)
        expected = pywt.waverec([(numerator / denominator).numpy(), *divided], basis, mode=mode, axis=-1)
        update = transform.expand(
            gradient, coarse, Direction(numerator, denominator.clone()), BiasCorrection(0.5, 4.0), SITE
        )
        torch.testing.assert_close(
            update, torch.from_numpy(expected[:, :width]) * (0.5 * 4.0), rtol=1e-11, atol=1e-11
        )


def test_the_general_path_and_the_closed_form_agree_on_haar() -> None:
    class General(WaveletTransform):
        """Haar as if it were any basis."""

        is_haar = False  # type: ignore[assignment]

    for guard in ("auto", "off"):
        for level in LEVELS:
            for width in (5, 16, 171):
                gradient = torch.randn(3, width, dtype=torch.float64)
                updates = []
                for kind in (WaveletTransform, General):
                    transform = kind("haar", level, guard)  # type: ignore[arg-type]
                    coarse = transform.compress(gradient, SITE)
                    torch.manual_seed(level)
                    numerator, denominator = torch.randn_like(coarse), torch.rand_like(coarse) * 0.2 + 0.1
                    updates.append(
                        transform.expand(
                            gradient,
                            coarse,
                            Direction(numerator, denominator),
                            BiasCorrection(10.0, 0.7),
                            SITE,
                        )
                    )
                torch.testing.assert_close(updates[0], updates[1], rtol=1e-12, atol=1e-12)
