"""The narrow product, in each of the ways in which it is computed."""

from __future__ import annotations

import pytest
import torch

from graftwork_optim_core.numerics.outer_products import add_product_

# Rows of 512 float32 or 256 float64 lie 2048 bytes apart.
SHAPES = [
    (40, 512),
    (600, 512),
    (40, 1536),
    (40, 511),
    (8, 512),
    (33, 256),
    (40, 256),
    (1, 512),
    (0, 512),
    (40, 1),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("rank", "dtype"),
    [(1, torch.float32), (4, torch.float64), (4, torch.float32), (5, torch.float32), (5, torch.float64)],
    ids=str,
)
def test_equals_the_dense_sum(shape: tuple[int, int], rank: int, dtype: torch.dtype) -> None:
    rows, columns = shape
    target, parts, lefts = (
        torch.randn(size, rank_or_width, dtype=torch.float64)
        for size, rank_or_width in ((rows, columns), (rows, rank), (columns, rank))
    )
    expected = target + parts @ lefts.T
    result = target.to(dtype, copy=True)
    returned = add_product_(result, parts.to(dtype), lefts.to(dtype))
    assert returned.data_ptr() == result.data_ptr()
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(result.double(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision(dtype: torch.dtype) -> None:
    target, parts, lefts = (
        torch.randn(40, 1024).to(dtype),
        torch.randn(40, 2).to(dtype),
        torch.randn(1024, 2).to(dtype),
    )
    expected = target.double() + parts.double() @ lefts.double().T
    result = add_product_(target, parts, lefts)
    assert result.dtype == dtype
    torch.testing.assert_close(result.double(), expected, rtol=0.02, atol=0.05)


def test_a_part_of_a_larger_matrix_and_factors_of_any_strides() -> None:
    whole = torch.zeros(80, 1024)
    parts, lefts = torch.randn(2, 40).t(), torch.randn(2, 512).t()
    add_product_(whole[20:60, :512], parts, lefts)
    torch.testing.assert_close(whole[20:60, :512], parts @ lefts.T)
    assert whole[:20].count_nonzero() == whole[60:].count_nonzero() == whole[:, 512:].count_nonzero() == 0
