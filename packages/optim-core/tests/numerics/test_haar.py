"""Block sums and repeats against their definitions."""

from __future__ import annotations

import pytest
import torch

from graftwork_optim_core.numerics.haar import block_count, block_sums, spread_blocks


@pytest.mark.parametrize("level", [0, 1, 2, 4])
def test_block_sums_and_repeats_by_definition(level: int) -> None:
    block = 2**level
    for width in (1, 2, 3, 7, 8, 13, 16, 33, 64):
        matrix = torch.randn(3, width, dtype=torch.float64)
        expected = torch.stack([part.sum(1) for part in matrix.split(block, dim=1)], dim=1)
        sums = block_sums(matrix, level)
        assert sums.shape == (3, block_count(width, level))
        torch.testing.assert_close(sums, expected, rtol=0, atol=1e-14)
        repeated = expected.repeat_interleave(block, dim=1)[:, :width]
        assert torch.equal(spread_blocks(expected, level, width), repeated)


def test_block_sums_leave_their_argument_alone() -> None:
    matrix = torch.ones(2, 5)
    block_sums(matrix, 2)
    assert torch.equal(matrix, torch.ones(2, 5))


def test_sums_do_not_follow_a_reduced_matmul_precision() -> None:
    matrix = torch.randn(64, 4096)
    exact = block_sums(matrix.double(), 4)
    torch.set_float32_matmul_precision("medium")
    try:
        assert (block_sums(matrix, 4) - exact).abs().max() < 1e-5
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("shape", [(0, 8), (3, 0)])
def test_empty_matrices(shape: tuple[int, int]) -> None:
    sums = block_sums(torch.zeros(shape), 2)
    assert sums.shape == (shape[0], block_count(shape[1], 2))
    assert spread_blocks(sums, 2, shape[1]).shape == shape
