"""The same steps on a CUDA device and on the CPU; run by the nox session ``gpu``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from graftwork_optim_core import (
    NSGDC,
    GaLoreAdamW,
    GoLoreAdamW,
    GoLoreMSGD,
    GWTAdamW,
    GWTMuon,
    SubspaceOptimizer,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
SHAPES = [(64, 172), (33, 13), (7,), (), (8, 3, 3, 3)]


def run(device: str, steps: int, dtype: torch.dtype, **options: Any) -> tuple[list[Tensor], GWTAdamW]:
    generator = torch.Generator().manual_seed(0)
    parameters = [
        torch.nn.Parameter(torch.randn(shape, generator=generator).to(device, dtype)) for shape in SHAPES
    ]
    optimizer = GWTAdamW(parameters, weight_decay=0.1, **options)
    for _ in range(steps):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator).to(device, dtype)
        optimizer.step()
    return [parameter.detach().cpu() for parameter in parameters], optimizer


@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize("guard", ["auto", "off"])
@pytest.mark.parametrize("foreach", [False, True])
def test_cuda_agrees_with_cpu_in_float64(level: int, guard: str, foreach: bool) -> None:
    options = {"level": level, "detail_guard": guard}
    ours, _ = run("cuda", 10, torch.float64, foreach=foreach, **options)
    theirs, _ = run("cpu", 10, torch.float64, **options)
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize("guard", ["auto", "off"])
def test_the_triton_kernels_agree_with_cpu_in_float64(level: int, guard: str) -> None:
    options = {"level": level, "detail_guard": guard}
    ours, _ = run("cuda", 10, torch.float64, fused=True, **options)
    theirs, _ = run("cpu", 10, torch.float64, foreach=False, **options)
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-10)


LOW_RANK: dict[str, Any] = {"rank": 5, "refresh_every": 4, "lr": 1e-2}
FAMILY: dict[str, Callable[..., SubspaceOptimizer]] = {
    "galore-svd": partial(GaLoreAdamW, **LOW_RANK, moments="project"),
    "galore-gram": partial(GaLoreAdamW, **LOW_RANK, basis="gram", side="right"),
    "galore-power": partial(GaLoreAdamW, **LOW_RANK, basis="power", side="full"),
    "golore-adamw": partial(GoLoreAdamW, **LOW_RANK, total_steps=10, random_last=0.5),
    "golore-msgd": partial(GoLoreMSGD, **LOW_RANK, random_last=1.0, scale=1.0),
    "gwt-db2": partial(GWTAdamW, basis="db2", level=2, lr=1e-2),
    "gwt-muon": partial(GWTMuon, lr=1e-2, orthogonalize="coarse"),
    "adafactor": partial(SubspaceOptimizer, host="adafactor", transform="wavelet", lr=1e-2),
    "adam-mini": partial(SubspaceOptimizer, host="adam-mini", transform="wavelet", lr=1e-2),
}


@pytest.mark.parametrize("make", [*FAMILY.values(), partial(NSGDC, lr=1e-2)], ids=[*FAMILY, "nsgdc"])
def test_state_follows_a_model_that_is_moved_after_some_steps(
    make: Callable[..., torch.optim.Optimizer],
) -> None:
    finals = []
    for moved in (True, False):
        generator = torch.Generator().manual_seed(0)
        model = torch.nn.Linear(24, 33, bias=False).double()
        model.weight.data.copy_(torch.randn(33, 24, generator=generator))
        optimizer = make(model.parameters())
        for number in range(8):
            if moved and number in (3, 6):
                model.to("cuda" if number == 3 else "cpu")
            gradient = torch.randn(33, 24, generator=generator).double()
            model.weight.grad = gradient.to(model.weight.device)
            optimizer.step()
        finals.append(model.weight.detach().clone())
    torch.testing.assert_close(*finals, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", FAMILY)
def test_every_host_and_transform_agrees_with_cpu(name: str) -> None:
    finals = []
    for device in ("cuda", "cpu"):
        generator = torch.Generator().manual_seed(0)
        weight = torch.nn.Parameter(torch.randn(33, 24, generator=generator).double().to(device))
        optimizer = FAMILY[name]([weight], weight_decay=0.1)
        for _ in range(10):
            weight.grad = torch.randn(33, 24, generator=generator).double().to(device)
            optimizer.step()
        finals.append(weight.detach().cpu())
    # Newton and Schulz's iteration runs in bfloat16.
    tolerance = 2e-2 if name == "gwt-muon" else 1e-7
    torch.testing.assert_close(finals[0], finals[1], rtol=tolerance, atol=tolerance)


def test_cuda_agrees_with_cpu_in_bfloat16() -> None:
    ours, _ = run("cuda", 3, torch.bfloat16, state_dtype="float32")
    theirs, _ = run("cpu", 3, torch.bfloat16, state_dtype="float32")
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=2**-7, atol=1e-3)


def test_reduced_matmul_precision_changes_nothing() -> None:
    plain, _ = run("cuda", 3, torch.float32)
    torch.set_float32_matmul_precision("medium")
    try:
        reduced, _ = run("cuda", 3, torch.float32)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert all(torch.equal(one, two) for one, two in zip(plain, reduced, strict=True))


def test_p9_no_step_waits_for_the_device() -> None:
    parameters = [torch.nn.Parameter(torch.randn(shape, device="cuda")) for shape in SHAPES]
    optimizer = GWTAdamW(parameters)
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    before = [parameter.detach().clone() for parameter in parameters]
    torch.cuda.set_sync_debug_mode("error")
    try:
        optimizer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not any(torch.equal(one, two) for one, two in zip(before, parameters, strict=True))


def test_a_captured_step_replays() -> None:
    weight, gradient = torch.randn(32, 64, device="cuda"), torch.randn(32, 64, device="cuda")
    eager, captured = (torch.nn.Parameter(weight.clone()) for _ in range(2))
    eager_optimizer, optimizer = GWTAdamW([eager]), GWTAdamW([captured], capturable=True)
    eager.grad, captured.grad = gradient.clone(), gradient.clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        optimizer.step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    for _ in range(4):
        graph.replay()
    for _ in range(5):
        eager_optimizer.step()
    torch.testing.assert_close(captured, eager, rtol=1e-5, atol=1e-6)


def test_h5_a_nan_skips_its_weight_on_the_device() -> None:
    parameter = torch.nn.Parameter(torch.randn(8, 16, device="cuda"))
    before = parameter.detach().clone()
    optimizer = GWTAdamW([parameter])
    parameter.grad = torch.full_like(parameter, torch.nan)
    optimizer.step()
    assert torch.equal(parameter, before)
    assert optimizer.nonfinite_skips() == 1
    assert float(optimizer.state[parameter]["step"]) == 0
