"""The fused step's kernels on a CUDA device against their reference; run by the nox session ``gpu``."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from graftwork_optim_core.kernels import haar_adamw, haar_adamw_reference
from graftwork_optim_core.kernels.haar_adamw import finite_extent, haar_adamw_correct, haar_adamw_step

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
FLOAT, DOUBLE, HALF, BRAIN = torch.float32, torch.float64, torch.float16, torch.bfloat16
BETAS = {"beta1": 0.9, "beta2": 0.999}
DTYPES = {
    "double": (DOUBLE, DOUBLE, DOUBLE),
    "single": (FLOAT, FLOAT, FLOAT),
    "half gradient": (FLOAT, HALF, FLOAT),
    "mixed": (BRAIN, BRAIN, FLOAT),
    "bfloat16": (BRAIN, BRAIN, BRAIN),
}
Matrices = tuple[Tensor, Tensor, Tensor, Tensor]


def options(level: int, guard: bool = True, maximize: bool = False) -> dict[str, Any]:
    return {"level": level, "guard": guard, "eps": 1e-6, "maximize": maximize}


def problem(rows: int, width: int, level: int, dtypes: str = "single", gap: int = 0) -> Matrices:
    """Return values, gradient and both averages, with columns of NaN behind every row."""
    generator = torch.Generator("cuda").manual_seed(0)

    def matrix(columns: int, dtype: torch.dtype) -> Tensor:
        view = torch.full((rows, columns + gap), torch.nan, dtype=dtype, device="cuda")[:, :columns]
        view.copy_(torch.randn(rows, columns, device="cuda", generator=generator))
        return view

    weight, gradient, state = DTYPES[dtypes]
    blocks = -(-width // 2**level)
    values, slope, mean = matrix(width, weight), matrix(width, gradient), matrix(blocks, state)
    mean_square = matrix(blocks, state)
    # Away from zero, where a step in bfloat16 is as small as the differences that are no matter.
    values.add_(values.sign() * 0.5)
    mean_square.square_().add_(1).mul_(0.1)
    return values, slope, mean.mul_(0.1), mean_square


def factors_for(values: Tensor, gate: float = 1.0) -> Tensor:
    dtype = DOUBLE if values.dtype == DOUBLE else FLOAT
    return torch.tensor([2.0, 0.7, 0.02, 0.99, gate], dtype=dtype, device="cuda")


def copies(matrices: Matrices) -> Matrices:
    values, gradient, mean, mean_square = (matrix.clone() for matrix in matrices)
    return values, gradient, mean, mean_square


def test_a_device_runs_the_kernels() -> None:
    assert haar_adamw._implementation(torch.zeros(1, device="cuda"), 2).__name__.endswith("triton")


@pytest.mark.parametrize("dtypes", DTYPES)
@pytest.mark.parametrize("guard", [True, False])
@pytest.mark.parametrize("level", [0, 1, 2, 3, 5, 10])
@pytest.mark.parametrize(("rows", "width", "gap"), [(64, 2048, 0), (33, 1365, 0), (300, 13, 3)])
def test_kernels_agree_with_the_reference(
    rows: int, width: int, gap: int, level: int, guard: bool, dtypes: str
) -> None:
    ours = problem(rows, width, level, dtypes, gap)
    theirs, factors = copies(ours), factors_for(ours[0])
    excess = torch.tensor(0.3, dtype=factors.dtype, device="cuda")
    chosen = options(level, guard, maximize=guard)
    # Two results a hair apart may land on neighbouring numbers of bfloat16.
    tolerance = {DOUBLE: 1e-12, FLOAT: 1e-5, BRAIN: 2**-7}
    norm = haar_adamw_step(*ours, factors, **BETAS, **chosen)
    expected = haar_adamw_reference.haar_adamw_step(*theirs, factors, **BETAS, **chosen)
    torch.testing.assert_close(norm, expected, rtol=1e-12 if norm.dtype == DOUBLE else 1e-5, atol=0.0)
    for written in (0, 2, 3):
        own = tolerance[ours[written].dtype]
        torch.testing.assert_close(ours[written], theirs[written], rtol=own, atol=own / 4)
    twice = 2 * tolerance[ours[0].dtype]
    haar_adamw_correct(*ours, factors, excess, **chosen)
    haar_adamw_reference.haar_adamw_correct(*theirs, factors, excess, **chosen)
    torch.testing.assert_close(ours[0], theirs[0], rtol=twice, atol=twice / 4)
    extent, expected = finite_extent(ours[1], level), haar_adamw_reference.finite_extent(ours[1], level)
    torch.testing.assert_close(extent, expected, rtol=1e-12 if extent.dtype == DOUBLE else 1e-5, atol=0.0)


def test_bfloat16_is_rounded_to_nearest() -> None:
    """Most stores agree to the bit; cutting off would change half of them."""
    ours = problem(64, 2048, 2, "mixed")
    theirs, factors = copies(ours), factors_for(ours[0])
    haar_adamw_step(*ours, factors, **BETAS, **options(2))
    haar_adamw_reference.haar_adamw_step(*theirs, factors, **BETAS, **options(2))
    assert (ours[0] != theirs[0]).float().mean() < 0.01


@pytest.mark.parametrize("poison", [torch.nan, torch.inf, 1.0])
def test_h5_a_shut_gate_writes_nothing(poison: float) -> None:
    matrices = problem(33, 1365, 2)
    matrices[1][32, 1364] = poison
    before, factors = copies(matrices), factors_for(matrices[0], gate=0.0)
    assert bool(finite_extent(matrices[1], 2).isfinite()) == (poison == 1.0)
    assert haar_adamw_step(*matrices, factors, **BETAS, **options(2)) == 0
    haar_adamw_correct(*matrices, factors, torch.tensor(0.5, device="cuda"), **options(2))
    for written in (0, 2, 3):
        assert torch.equal(matrices[written], before[written])


def test_equal_inputs_give_equal_bits() -> None:
    first = problem(512, 5461, 2)
    second, factors = copies(first), factors_for(first[0])
    norms = [haar_adamw_step(*matrices, factors, **BETAS, **options(2)) for matrices in (first, second)]
    extents = [finite_extent(first[1], 2) for _ in range(2)]
    assert norms[0] == norms[1]
    assert extents[0] == extents[1]
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


def whole_step(matrices: Matrices, factors: Tensor, previous: Tensor) -> None:
    """Gate, step, limit and correction as an optimizer makes them, all on the device."""
    gate = finite_extent(matrices[1], 2).isfinite().to(factors.dtype)
    gated = torch.cat([factors[:4], gate.reshape(1)])
    norm = haar_adamw_step(*matrices, gated, **BETAS, **options(2)).sqrt()
    divisor = (norm / previous).clamp(min=1.01) / 1.01
    previous.copy_(norm / divisor)
    haar_adamw_correct(*matrices, gated, 1 - 1 / divisor, **options(2))


def test_p9_no_step_waits_for_the_device() -> None:
    matrices = problem(64, 172, 2)
    factors, previous = factors_for(matrices[0]), torch.ones((), device="cuda")
    whole_step(matrices, factors, previous)
    before = matrices[0].clone()
    torch.cuda.set_sync_debug_mode("error")
    try:
        whole_step(matrices, factors, previous)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not torch.equal(matrices[0], before)


def test_a_captured_step_replays() -> None:
    eager = problem(64, 172, 2)
    captured, factors = copies(eager), factors_for(eager[0])
    previous = [torch.ones((), device="cuda") for _ in range(2)]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        whole_step(captured, factors, previous[1])
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        whole_step(captured, factors, previous[1])
    for _ in range(4):
        graph.replay()
    for _ in range(5):
        whole_step(eager, factors, previous[0])
    assert all(torch.equal(one, two) for one, two in zip(eager, captured, strict=True))


@pytest.mark.parametrize("width", [2**20 + 24, 2**20 + 32], ids=["row by row", "as one row"])
def test_offsets_beyond_32_bits(width: int) -> None:
    """The last row of a weight of more than 2 ** 31 elements moves like that row alone."""
    rows = 2**31 // width + 2
    if torch.cuda.mem_get_info()[0] < 4 * rows * width + 2**32:
        pytest.skip("needs 13 GB of free memory")
    values, gradient = (torch.zeros(rows, width, dtype=BRAIN, device="cuda") for _ in range(2))
    mean, mean_square = (torch.zeros(rows, -(-width // 32), dtype=BRAIN, device="cuda") for _ in range(2))
    whole = (values, gradient, mean, mean_square)
    row = problem(1, width, 5, "bfloat16")
    for matrix, last in zip(whole, row, strict=True):
        matrix[-1].copy_(last[0])
    factors = factors_for(values)
    haar_adamw_step(*whole, factors, **BETAS, **options(5))
    haar_adamw_step(*row, factors, **BETAS, **options(5))
    for matrix, last in zip(whole, row, strict=True):
        torch.testing.assert_close(matrix[-1], last[0], rtol=2**-7, atol=0.0)
        assert not matrix[:-1].any()
