"""The kernels of low-rank updates on a CUDA device against their reference; run by the session ``gpu``."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from graftwork_optim_core.kernels import low_rank_update, low_rank_update_reference
from graftwork_optim_core.kernels.low_rank_update import merge_low_rank, perturb_full, perturb_low_rank
from graftwork_optim_core.numerics.philox import NormalBatch, normal

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
FLOAT, DOUBLE, HALF, BRAIN = torch.float32, torch.float64, torch.float16, torch.bfloat16
TOLERANCES = {DOUBLE: 1e-12, FLOAT: 1e-6, HALF: 2**-10, BRAIN: 2**-7}
SHAPES = ((64, 2048), (33, 1365), (300, 13), (1, 5))
DRAWN: dict[str, Any] = {"seed": 2**63 + 5, "moment": 9, "role": 2}


def weights_of(dtype: torch.dtype, gap: int = 0) -> list[Tensor]:
    """Return weights with columns of NaN behind every row."""
    generator = torch.Generator("cuda").manual_seed(0)
    weights = []
    for rows, columns in SHAPES:
        whole = torch.full((rows, columns + gap), torch.nan, dtype=dtype, device="cuda")
        whole[:, :columns] = torch.randn(rows, columns, device="cuda", generator=generator)
        weights.append(whole[:, :columns])
    return weights


def factors_of(side: int, rank: int) -> list[Tensor]:
    generator = torch.Generator("cuda").manual_seed(1 + side)
    return [torch.randn(shape[side], rank, device="cuda", generator=generator) for shape in SHAPES]


def run(operation: str, weights: list[Tensor], rank: int = 2, stochastic: bool = False) -> None:
    key: dict[str, Any] = {"parameter_indices": range(len(weights))}
    firsts = [3, *[0] * (len(weights) - 1)]
    rounding = {"rounding": (1, 2)} if stochastic else {}
    if operation == "perturb_full":
        perturb_full(weights, 0.01, first_elements=firsts, **key, **DRAWN)
    elif operation == "perturb_low_rank":
        rights = factors_of(1, rank)
        perturb_low_rank(weights, rights, 0.01, rank=rank, first_rows=firsts, **key, **rounding, **DRAWN)
    else:
        factors = (factors_of(0, rank), factors_of(1, rank))
        merge_low_rank(weights, *factors, 0.01, 0.9, first_rows=firsts, **key, **rounding)


def run_reference(monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(low_rank_update, "_has_triton", lambda: False)
        run(*arguments)


def test_a_device_runs_the_kernels() -> None:
    ((implementation, _),) = low_rank_update._by_implementation([torch.zeros(1, 1, device="cuda")])
    assert implementation is not low_rank_update_reference


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("gap", [0, 3, 16])
@pytest.mark.parametrize("rank", [1, 2, 5, 16])
@pytest.mark.parametrize("operation", ["perturb_low_rank", "perturb_full", "merge_low_rank"])
def test_kernels_agree_with_the_reference(
    operation: str, rank: int, gap: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = weights_of(dtype, gap), weights_of(dtype, gap)
    run(operation, ours, rank)
    run_reference(monkeypatch, operation, theirs, rank)
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype])
        whole = one.as_strided((one.shape[0], one.shape[1] + gap), (one.shape[1] + gap, 1))
        assert whole[:, one.shape[1] :].isnan().all()


@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize("operation", ["perturb_low_rank", "merge_low_rank"])
def test_bfloat16_is_rounded_alike(operation: str, stochastic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """To nearest, or with the same random bits: only results a hair from the border may differ."""
    ours, theirs = weights_of(BRAIN), weights_of(BRAIN)
    run(operation, ours, 4, stochastic)
    run_reference(monkeypatch, operation, theirs, 4, stochastic)
    different = torch.cat([(one != two).flatten() for one, two in zip(ours, theirs, strict=True)])
    assert different.float().mean() < 0.01


def test_normal_numbers_are_those_of_the_cpu_to_1e_6() -> None:
    key: dict[str, Any] = {"parameter_index": 4, **DRAWN}
    expected = normal(100_003, **key)
    torch.testing.assert_close(normal(100_003, device="cuda", **key).cpu(), expected, rtol=0.0, atol=1e-6)
    full = torch.zeros(100_003, device="cuda")
    perturb_full([full], 1.0, parameter_indices=[4], **DRAWN)
    torch.testing.assert_close(full.cpu(), expected, rtol=0.0, atol=1e-6)
    column = torch.zeros(100_003, 1, device="cuda")
    perturb_low_rank([column], [torch.ones(1, 1, device="cuda")], 1.0, rank=1, parameter_indices=[4], **DRAWN)
    torch.testing.assert_close(column.flatten().cpu(), expected, rtol=0.0, atol=1e-6)


def test_equal_inputs_give_equal_bits() -> None:
    for operation in ("perturb_low_rank", "perturb_full", "merge_low_rank"):
        one, two = weights_of(FLOAT), weights_of(FLOAT)
        run(operation, one)
        run(operation, two)
        assert all(torch.equal(*pair) for pair in zip(one, two, strict=True))


@pytest.mark.parametrize("operation", ["perturb_low_rank", "perturb_full", "merge_low_rank"])
def test_no_step_waits_for_the_device(operation: str) -> None:
    weights = weights_of(BRAIN)
    factors_of(1, 2)
    batch = NormalBatch([(0, 0, 1000)], "cuda")
    run(operation, weights, 2, stochastic=True)
    before = [weight.clone() for weight in weights]
    torch.cuda.set_sync_debug_mode("error")
    try:
        # Other weights at other addresses need a new table, which must not wait either.
        run(operation, weights[:1] + weights[1:], 2, stochastic=True)
        run(operation, weights_of(BRAIN), 2, stochastic=True)
        batch.draw(1, torch.zeros((), dtype=torch.int64, device="cuda"), 0)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not any(torch.equal(one, two) for one, two in zip(before, weights, strict=True))


def test_a_captured_step_replays_at_a_moment_on_the_device() -> None:
    weights, right = [torch.zeros(64, 256, device="cuda")], [torch.randn(256, 2, device="cuda")]
    moment = torch.zeros((), dtype=torch.int64, device="cuda")
    key: dict[str, Any] = {"seed": 1, "role": 0, "parameter_indices": [0], "rank": 2}

    def step() -> None:
        perturb_low_rank(weights, right, 0.1, moment=moment, **key)
        moment.add_(1)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    for _ in range(3):
        graph.replay()
    expected = [torch.zeros(64, 256, device="cuda")]
    for number in range(4):
        perturb_low_rank(expected, right, 0.1, moment=number, **key)
    assert torch.equal(weights[0], expected[0])


def test_offsets_beyond_32_bits() -> None:
    """The last row of a weight of more than 2 ** 31 elements moves like a shard of that row alone."""
    rows, columns = 2**11 + 1, 2**20
    if torch.cuda.mem_get_info()[0] < 2 * rows * columns + 2**31:
        pytest.skip("needs 7 GB of free memory")
    whole, row = (torch.zeros(count, columns, dtype=BRAIN, device="cuda") for count in (rows, 1))
    right = [torch.randn(columns, 2, device="cuda")]
    key: dict[str, Any] = {"parameter_indices": [0], **DRAWN}
    perturb_low_rank([whole], right, 1.0, rank=2, rounding=(1,), **key)
    perturb_low_rank([row], right, 1.0, rank=2, rounding=(1,), first_rows=[rows - 1], **key)
    assert torch.equal(whole[-1], row[0])
    perturb_full([whole], 1.0, **key)
    perturb_full([row], 1.0, first_elements=[(rows - 1) * columns], **key)
    assert torch.equal(whole[-1], row[0])
