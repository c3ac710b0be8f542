"""The kernels of exact diffusion on a CUDA device against their reference; run by the session ``gpu``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from graftwork_decentral.kernels import exact_diffusion, exact_diffusion_reference
from graftwork_decentral.kernels.exact_diffusion import exact_diffusion_after_step, exact_diffusion_step

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
FLOAT, DOUBLE, BRAIN = torch.float32, torch.float64, torch.bfloat16


def mixing(agents: int) -> Tensor:
    weights = torch.rand(agents, agents, dtype=DOUBLE, device="cuda") / agents
    weights.fill_diagonal_(0.0)
    return weights + torch.diag(1 - weights.sum(1))


def stacked(agents: int, parameters: int, dtype: torch.dtype = FLOAT, gap: int = 0) -> list[Tensor]:
    arrays = []
    for one in (dtype, dtype, FLOAT):
        whole = torch.full((agents, parameters + gap), torch.nan, dtype=one, device="cuda")
        whole[:, :parameters] = torch.randn(agents, parameters, device="cuda")
        arrays.append(whole[:, :parameters])
    return arrays


def test_a_device_runs_the_kernels() -> None:
    values, _, correction = stacked(4, 4)
    assert exact_diffusion._implementation(values, correction) is not exact_diffusion_reference


@pytest.mark.parametrize("dtype", [FLOAT, BRAIN], ids=str)
@pytest.mark.parametrize("gap", [0, 3, 16])
@pytest.mark.parametrize("agents", [1, 3, 8, 10, 16, 33, 64, 100, 256])
def test_kernels_agree_with_the_reference(agents: int, gap: int, dtype: torch.dtype) -> None:
    values, direction, correction = stacked(agents, 5003, dtype, gap)
    expected_values, expected_correction = values.clone(), correction.clone()
    weights, step_size = mixing(agents), torch.tensor(0.3, dtype=DOUBLE, device="cuda")
    exact_diffusion_step(values, direction, correction, step_size, weights)
    exact_diffusion_reference.exact_diffusion(
        expected_values, direction, expected_correction, step_size, weights
    )
    tolerance = 3e-6 if dtype == FLOAT else 2**-7
    torch.testing.assert_close(values, expected_values, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(correction, expected_correction, rtol=3e-6, atol=3e-6)
    for array in (values, correction):
        whole = array.as_strided((agents, 5003 + gap), (5003 + gap, 1))
        assert whole[:, 5003:].isnan().all()
    exact_diffusion_after_step(values, correction, weights)
    exact_diffusion_reference.exact_diffusion(expected_values, None, expected_correction, None, weights)
    torch.testing.assert_close(correction, expected_correction, rtol=4 * tolerance, atol=4 * tolerance)


def test_no_step_waits_for_the_device() -> None:
    values, direction, correction = stacked(10, 4096)
    weights = mixing(10)
    exact_diffusion_step(values, direction, correction, 0.1, weights)
    before = values.clone()
    torch.cuda.set_sync_debug_mode("error")
    try:
        exact_diffusion_step(values, direction, correction, 0.2, weights)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not torch.equal(values, before)


def test_mean_of_the_correction_does_not_drift_in_float32() -> None:
    values, optimum, correction = stacked(10, 64)
    correction.zero_()
    weights = torch.zeros(10, 10, dtype=DOUBLE, device="cuda")
    for agent in range(10):
        weights[agent, [(agent - 1) % 10, (agent + 1) % 10]] = 1 / 6
        weights[agent, agent] = 2 / 3
    for _ in range(20_000):
        exact_diffusion_step(values, values - optimum, correction, 0.05, weights)
    assert float(correction.double().mean(0).abs().max()) <= 1e-6
    assert float((values.double() - optimum.double().mean(0)).square().sum()) <= 64 / 5 * 1e-8


def seconds_of(call: Callable[[], object]) -> float:
    """Return the least of twenty times on the device."""
    for _ in range(3):
        call()
    least = float("inf")
    for _ in range(20):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        least = min(least, start.elapsed_time(end) / 1e3)
    return least


@pytest.mark.parametrize("agents", [8, 16, 32, 64])
def test_7_twice_as_fast_as_eager_and_60_percent_of_copy_bandwidth(agents: int) -> None:
    values, direction, correction = stacked(agents, (1 << 28) // agents)
    weights = mixing(agents)
    narrow, step_size = weights.float(), torch.tensor(1e-6, dtype=DOUBLE, device="cuda")
    copy = 2 * values.nbytes / seconds_of(partial(torch.empty_like(values).copy_, values))

    def eager() -> None:
        local = values - 1e-6 * direction - correction
        mixed = narrow @ local
        correction.add_(local - mixed)
        values.copy_(mixed)

    slow = seconds_of(eager)
    fast = seconds_of(lambda: exact_diffusion_step(values, direction, correction, step_size, weights))
    share = 5 * values.nbytes / fast / copy
    print(f"{agents} agents: {slow / fast:.2f} times eager, {share:.0%} of {copy / 1e9:.0f} GB/s")
    assert slow / fast >= 2
    assert share >= 0.6
