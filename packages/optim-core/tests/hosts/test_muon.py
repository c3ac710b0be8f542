"""Muon against torch's, and the two places of its orthogonalization."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import pywt
import torch
from torch import Tensor, nn

from graftwork_optim_core import SubspaceOptimizer
from graftwork_optim_core.hosts.muon import MuonHost
from graftwork_optim_core.numerics.orthogonalization import newton_schulz
from graftwork_optim_core.subspace import pairing
from graftwork_optim_core.subspace.identity import corrected_quotient
from graftwork_optim_core.subspace.site import Site
from graftwork_optim_core.subspace.transform import BiasCorrection, Direction, GradientTransform

EXACT = {"newton_schulz_dtype": "float32"}


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(6, 10), (10, 6), (7, 7)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"nesterov": False, "momentum": 0.8},
        {"adjust_lr_fn": "match_rms_adamw", "ns_steps": 3},
        {"ns_coefficients": (2.0, -1.5, 0.5), "eps": 1e-3},
    ],
    ids=str,
)
def test_equals_torch_bit_for_bit(
    options: dict[str, Any], shape: tuple[int, int], dtype: torch.dtype
) -> None:
    ours, theirs = nn.Parameter(random(*shape, dtype=dtype)), nn.Parameter(random(*shape, dtype=dtype))
    own = {"ns_eps" if key == "eps" else key: value for key, value in options.items()}
    optimizer = SubspaceOptimizer([ours], lr=0.02, host="muon", transform="identity", host_options=own)
    reference = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.0, **options)
    for step in range(8):
        ours.grad = random(*shape, seed=step + 1, dtype=dtype)
        theirs.grad = ours.grad.clone()
        optimizer.step()
        reference.step()
        assert torch.equal(ours, theirs)


@dataclass(frozen=True)
class Rotated(GradientTransform):
    """Coordinates of each row in an orthonormal basis of a subspace, and nothing of what lies outside it."""

    count: int

    @property
    def column_block(self) -> int:
        return 0

    def basis(self, site: Site) -> Tensor:
        square = random(site.shape[1], site.shape[1], seed=9)
        return torch.linalg.qr(square)[0][:, : self.count]

    def coarse_shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        return (shape[0], self.count)

    def compress(self, gradient: Tensor, site: Site) -> Tensor:
        return gradient @ self.basis(site)

    def expand(
        self, gradient: Tensor, coarse: Tensor, direction: Direction, correction: BiasCorrection, site: Site
    ) -> Tensor:
        return corrected_quotient(direction, correction) @ self.basis(site).T


@pytest.mark.parametrize("shape", [(5, 12), (12, 5)])
def test_in_orthonormal_coordinates_coarse_is_full(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]
) -> None:
    known = pairing.class_named
    monkeypatch.setattr(
        pairing, "class_named", lambda kind, name: Rotated if name == "rotated" else known(kind, name)
    )
    pairing.option_defaults.cache_clear()
    finals = []
    for where in ("full", "coarse"):
        weight = nn.Parameter(random(*shape))
        optimizer = SubspaceOptimizer(
            [weight],
            lr=0.1,
            host="muon",
            transform="rotated",
            transform_options={"count": 4},
            host_options={"orthogonalize": where, **EXACT},
        )
        for step in range(4):
            weight.grad = random(*shape, seed=step + 1)
            optimizer.step()
        finals.append(weight)
    assert (finals[0] - random(*shape)).abs().max() > 0.05
    torch.testing.assert_close(*finals, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("width", [24, 27])
@pytest.mark.parametrize("basis", ["haar", "db2"])
def test_coarse_leaves_the_details_out(basis: str, width: int) -> None:
    weight = nn.Parameter(torch.zeros(4, width, dtype=torch.float64))
    optimizer = SubspaceOptimizer(
        [weight],
        lr=1.0,
        host="muon",
        transform="wavelet",
        transform_options={"basis": basis, "level": 2},
        host_options={"orthogonalize": "coarse", "nesterov": False, **EXACT},
    )
    gradient = random(4, width, seed=1)
    weight.grad = gradient.clone()
    optimizer.step()
    low, *details = pywt.wavedec(gradient.numpy(), basis, mode="zero", level=2, axis=-1)
    orthogonal = newton_schulz(torch.from_numpy(low), dtype=torch.float32).double().numpy()
    nothing = [np.zeros_like(detail) for detail in details]
    expected = pywt.waverec([orthogonal, *nothing], basis, mode="zero", axis=-1)[:, :width]
    torch.testing.assert_close(-weight.detach(), torch.from_numpy(expected), rtol=1e-5, atol=1e-6)


def test_full_orthogonalizes_the_mean_and_the_details() -> None:
    weight = nn.Parameter(torch.zeros(4, 24, dtype=torch.float64))
    optimizer = SubspaceOptimizer(
        [weight],
        lr=1.0,
        host="muon",
        transform="wavelet",
        host_options={"nesterov": False, "momentum": 0.5, **EXACT},
    )
    first, second = random(4, 24, seed=1), random(4, 24, seed=2)
    weight.grad = first.clone()
    optimizer.step()
    before = weight.detach().clone()
    weight.grad = second.clone()
    optimizer.step()
    means = [one.view(4, 6, 4).mean(-1).repeat_interleave(4, dim=1) for one in (first, second)]
    mixed = second - means[1] + 0.25 * means[0] + 0.5 * means[1]
    expected = newton_schulz(mixed, dtype=torch.float32).double()
    torch.testing.assert_close(before - weight.detach(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("where", ["full", "coarse"])
@pytest.mark.parametrize("rule", ["original", "match_rms_adamw"])
def test_the_factor_is_of_the_whole_weights_shape(where: str, rule: str) -> None:
    host = MuonHost(orthogonalize=where, adjust_lr_fn=rule)  # type: ignore[arg-type]
    site = Site((64, 16), None)  # type: ignore[arg-type]
    expected = 0.5 * (2.0 if rule == "original" else 0.2 * 8.0)
    assert host.rate(0.5, 1.0, torch.zeros(8, 16), site) == pytest.approx(expected)


def test_a_vector_is_a_matrix_of_one_row() -> None:
    for size in (1e-20, 1e-8, 1.0, 1e6):
        vector, row = nn.Parameter(torch.zeros(12)), nn.Parameter(torch.zeros(1, 12))
        for parameter in (vector, row):
            parameter.grad = (random(12, seed=3) * size).to(torch.float32).view(parameter.shape)
            SubspaceOptimizer([parameter], lr=1.0, host="muon", host_options=EXACT, plain=True).step()
        torch.testing.assert_close(vector, row[0], rtol=1e-5, atol=1e-12)
        if size >= 1:
            assert 0.65 < float(vector.detach().norm()) < 1.25


def test_every_singular_value_is_near_one() -> None:
    weight = nn.Parameter(torch.zeros(16, 24))
    optimizer = SubspaceOptimizer([weight], lr=1.0, host="muon", transform="identity")
    weight.grad = random(16, 24, seed=5, dtype=torch.float32)
    optimizer.step()
    values = torch.linalg.svdvals(weight.detach())
    assert float(values.min()) > 0.6
    assert float(values.max()) < 1.3
    assert math.isclose(float(values.square().mean().sqrt()), 1.0, rel_tol=0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1\.0"),
        ({"ns_coefficients": (1.0, 2.0)}, r"ns_coefficients must be three numbers, got \(1\.0, 2\.0\)"),
        ({"ns_eps": 0.0}, r"ns_eps must be greater than 0, got 0\.0"),
        ({"ns_steps": 100}, r"ns_steps must be a whole number in 0\.\.99, got 100"),
        (
            {"newton_schulz_dtype": "float16"},
            "newton_schulz_dtype must be 'bfloat16' or 'float32', got 'float16'",
        ),
        ({"adjust_lr_fn": "none"}, "adjust_lr_fn must be 'original' or 'match_rms_adamw', got 'none'"),
        ({"orthogonalize": "half"}, "orthogonalize must be 'full' or 'coarse', got 'half'"),
    ],
)
def test_options_out_of_range(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MuonHost(**options)  # type: ignore[arg-type]
