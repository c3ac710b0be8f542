"""The fused step against the eager one: Numba's on this CPU; the device's with a reference for Triton."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from graftwork_optim_core import GWTAdamW, SubspaceOptimizer
from graftwork_optim_core.subspace import batching, fused, optimizer
from graftwork_optim_core.subspace.batch import WeightBatch

SHAPES = [(64, 172), (33, 13), (7,), (), (8, 3, 3, 3), (300, 700)]


def run(
    steps: int, dtype: torch.dtype = torch.float64, nan_at: int | None = None, **options: Any
) -> tuple[list[Tensor], SubspaceOptimizer]:
    generator = torch.Generator().manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in SHAPES]
    made = GWTAdamW(parameters, weight_decay=0.1, lr=1e-2, **options)
    for step in range(steps):
        for parameter in parameters:
            # Growing by jumps, so that the limiter acts on many steps.
            size = 1.0 + 3.0 * (step % 3)
            parameter.grad = (torch.randn(parameter.shape, generator=generator) * size).to(dtype)
        if step == nan_at:
            parameters[0].grad[0, 0] = torch.nan
            parameters[1].grad[0, 0] = torch.inf
        made.step()
    return [parameter.detach() for parameter in parameters], made


@pytest.fixture(params=["numba", "device"])
def fused_options(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Options that make every step fused, and a proof that it was."""
    if request.param == "numba":
        pytest.importorskip("numba")
        options: dict[str, Any] = {"fused": True}
    else:
        monkeypatch.setattr(
            batching, "takes", lambda p, o, plan, on_host: not on_host and fused.haar_of(plan) is not None
        )
        options = {"capturable": True}
    made = fused.step_fused
    count = {"fused": 0}

    def counted(batch: WeightBatch, totals: Any) -> Any:
        count["fused"] += len(batch.weights)
        return made(batch, totals)

    monkeypatch.setattr(optimizer, "step_fused", counted)
    options["count"] = count
    return options


def assert_same(
    options: dict[str, Any],
    steps: int,
    dtype: torch.dtype = torch.float64,
    atol: float = 1e-12,
    **common: Any,
) -> None:
    count = options["count"]
    own = {key: value for key, value in options.items() if key != "count"}
    ours, ours_made = run(steps, dtype, **own, **common)
    assert count["fused"] == steps * len(SHAPES)
    theirs, theirs_made = run(steps, dtype, foreach=False, **common)
    for one, two in zip(ours, theirs, strict=True):
        # The published step throws weights far (H1): errors are relative to how far they went.
        scale = max(1.0, float(two.abs().max()))
        torch.testing.assert_close(one, two, rtol=0, atol=atol * scale * steps)
    for one_state, two_state in zip(ours_made.state.values(), theirs_made.state.values(), strict=True):
        for key, value in two_state.items():
            torch.testing.assert_close(one_state[key], value, rtol=atol * 10, atol=atol * 10)
    assert ours_made.nonfinite_skips() == theirs_made.nonfinite_skips()


@pytest.mark.parametrize("guard", ["auto", "off"])
@pytest.mark.parametrize("level", [0, 1, 2, 3, 5])
def test_fused_equals_eager(fused_options: dict[str, Any], level: int, guard: str) -> None:
    assert_same(fused_options, 10, level=level, detail_guard=guard)


@pytest.mark.parametrize("maximize", [False, True])
def test_h5_fused_skips_a_gradient_that_is_not_finite(fused_options: dict[str, Any], maximize: bool) -> None:
    assert_same(fused_options, 6, level=2, nan_at=3, maximize=maximize)


def test_without_a_limiter_and_with_a_tensor_for_a_rate(fused_options: dict[str, Any]) -> None:
    assert_same(fused_options, 6, level=2, norm_growth_limit=None)


def test_float32_agrees_to_a_few_roundings(fused_options: dict[str, Any]) -> None:
    assert_same(fused_options, 4, torch.float32, atol=1e-6, level=2)


def test_numba_gives_the_same_bits_on_any_number_of_threads() -> None:
    pytest.importorskip("numba")
    finals = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            finals.append(run(5, torch.float32, level=2, fused=True)[0])
    finally:
        torch.set_num_threads(1)
    for other in finals[1:]:
        assert all(torch.equal(one, two) for one, two in zip(finals[0], other, strict=True))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, True),
        ({"fused": False}, False),
        ({"foreach": False}, False),
        ({"foreach": True}, False),
        ({"foreach": True, "fused": True}, True),
        ({"basis": "db2"}, False),
        ({"state_dtype": "bfloat16"}, False),
    ],
)
def test_when_a_kernel_takes_a_weight(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], expected: bool
) -> None:
    pytest.importorskip("numba")
    weight = torch.nn.Parameter(torch.zeros(64, 64))
    made = GWTAdamW([weight], **options)
    weight.grad = torch.ones(64, 64)
    (batch,) = batching.batches_of(made._planned(), made.state)
    assert (batch.mode == "fused") is expected


def test_without_numba_the_step_is_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "has_numba", lambda: False)
    weight = torch.nn.Parameter(torch.zeros(64, 64))
    made = GWTAdamW([weight])
    weight.grad = torch.ones(64, 64)
    (batch,) = batching.batches_of(made._planned(), made.state)
    assert batch.mode == "stacked"
