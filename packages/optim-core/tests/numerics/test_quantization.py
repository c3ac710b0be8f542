"""Block-wise eight-bit storage against its definition, and what an exact resume needs of it."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from graftwork_optim_core.numerics.quantization import (
    dequantize,
    dequantize_into,
    dynamic_map,
    quantize,
    quantize_into,
    scales_shape,
)

MAPS = pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
WIDTHS = [1, 2, 255, 256, 257, 512, 700]


def sample(rows: int, columns: int, signed: bool, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal values, or squares of them, of which every tenth column is a thousand times smaller."""
    matrix = torch.randn(rows, columns, dtype=torch.float64)
    matrix[:, ::10] *= 1e-3
    return (matrix if signed else matrix.square()).to(dtype)


def in_unit_blocks(quotients: Tensor) -> Tensor:
    """Lay numbers in [-1, 1] out so that every block holds a 1, and its scale is 1."""
    rows = -(-len(quotients) // 255)
    matrix = torch.ones(rows, 256)
    padded = torch.nn.functional.pad(quotients, (0, rows * 255 - len(quotients)))
    matrix[:, :255] = padded.view(rows, 255)
    return matrix


def block_maxima(matrix: Tensor) -> Tensor:
    return torch.stack([part.abs().amax(1) for part in matrix.split(256, dim=1)], dim=1)


@MAPS
def test_the_map_is_the_dynamic_tree(signed: bool) -> None:
    levels = dynamic_map(signed)
    assert len(levels) == 256
    assert list(levels) == sorted(set(levels))
    assert {0.0, 1.0} <= set(levels)
    assert levels[0] == (-1.0 if signed else 0.0)
    per_decade = [sum(10**-j * 0.1 < level < 10**-j for level in levels) for j in range(7)]
    assert per_decade == [(1 if signed else 2) * 2 ** (6 - j) for j in range(7)]
    top = [level for level in levels if 0.1 < level < 1]
    steps = [after - before for before, after in pairwise(top)]
    assert steps == pytest.approx([0.9 / len(top)] * len(steps))
    if signed:
        assert set(levels) - {-level for level in levels} == {min(x for x in levels if x > 0)}


@MAPS
def test_the_scale_is_the_absolute_maximum_of_256_columns_of_a_row(signed: bool) -> None:
    for columns in WIDTHS:
        matrix = sample(5, columns, signed)
        codes, scales = quantize(matrix, signed)
        assert codes.shape == matrix.shape
        assert codes.dtype == torch.uint8
        assert scales.shape == scales_shape(matrix.shape) == (5, math.ceil(columns / 256))
        assert torch.equal(scales, block_maxima(matrix))


@MAPS
@pytest.mark.parametrize(
    ("dtype", "columns"),
    [(torch.bfloat16, 700), (torch.float32, 1), (torch.float32, 257), (torch.float64, 256)],
)
def test_eq_code_is_the_nearest_level(dtype: torch.dtype, columns: int, signed: bool) -> None:
    matrix = sample(5, columns, signed, dtype)
    codes, scales = quantize(matrix, signed)
    levels = torch.tensor(dynamic_map(signed), dtype=torch.float64)
    wide_scales = scales.double().repeat_interleave(256, dim=1)[:, :columns]
    quotients = matrix.double() / wide_scales
    distances = (quotients.unsqueeze(-1) - levels).abs()
    chosen = distances.gather(-1, codes.long().unsqueeze(-1)).squeeze(-1)
    # Quotients are float32, and at most 1.
    allowed = distances.amin(-1) + 2.0**-23
    if not signed:
        allowed[(quotients > 0) & (quotients < levels[1])] = levels[1]
    assert (chosen <= allowed).all()
    expected = (levels[codes.long()] * wide_scales).float()
    torch.testing.assert_close(dequantize(codes, scales, signed), expected, rtol=2e-7, atol=0)


@MAPS
def test_every_code_agrees_with_a_search_among_the_middles(signed: bool) -> None:
    levels = torch.tensor(dynamic_map(signed), dtype=torch.float64)
    middles = ((levels[1:] + levels[:-1]) / 2).float()
    if not signed:
        middles[0] = 0.0
    below = torch.nextafter(middles, torch.tensor(-2.0))
    above = torch.nextafter(middles, torch.tensor(2.0))
    halves = torch.arange(2**16, dtype=torch.int64) << 16
    by_bits = torch.cat([halves, halves | (2**16 - 1)]).to(torch.int32).view(torch.float32)
    quotients = torch.cat([middles, below, above, by_bits[by_bits.abs() <= 1], torch.rand(2**16) * 2 - 1])
    matrix = in_unit_blocks(quotients)
    codes, scales = quantize(matrix, signed)
    assert (scales == 1).all()
    # From the left: halfway between two levels the lower one is taken.
    assert torch.equal(codes, torch.bucketize(matrix, middles).to(torch.uint8))


def test_errors_are_within_the_stated_bounds() -> None:
    quotients = torch.cat([torch.logspace(-9, 0, 60_001), torch.linspace(0, 1, 60_001)])
    for signed, numbers in [(True, torch.cat([quotients, -quotients])), (False, quotients)]:
        matrix = in_unit_blocks(numbers)
        errors = (dequantize(*quantize(matrix, signed), signed) - matrix).abs()
        magnitudes = matrix.abs()
        for j in range(6):
            within = (magnitudes >= 10 ** -(j + 1)) & (magnitudes <= 10**-j)
            bound = 0.45 * 10**-j * 2 ** (j - 6) * (1 if signed else 0.5)
            assert within.any()
            assert 0.98 * bound < errors[within].max() < 1.0001 * bound
            assert (errors[within] / magnitudes[within]).max() < (0.0704 if signed else 0.0352) * 2**j
        assert errors[magnitudes < 1e-6].max() <= (1.6251e-6 if signed else 3.2501e-7)


def test_mean_relative_error_on_normal_values() -> None:
    values = torch.randn(64, 4096)
    relative = (dequantize(*quantize(values, True), True) - values).abs() / values.abs()
    assert 0.014 < relative.mean() < 0.017
    squares = values.square()
    relative = (dequantize(*quantize(squares, False), False) - squares).abs() / squares
    scales = block_maxima(squares).repeat_interleave(256, dim=1)
    assert 0.013 < relative[squares > 1e-4 * scales].mean() < 0.015


@MAPS
@pytest.mark.parametrize(
    ("dtype", "magnitude", "columns"),
    [
        (torch.float32, 1e-20, 257),
        (torch.float32, 1e30, 700),
        (torch.float64, 1e-20, 700),
        (torch.float64, 1.0, 255),
    ],
)
def test_what_was_stored_once_is_stored_the_same_again(
    dtype: torch.dtype, magnitude: float, columns: int, signed: bool
) -> None:
    codes, scales = quantize(sample(6, columns, signed, torch.float64) * magnitude, signed)
    assert (scales > 0).all()
    again, scales_again = quantize(dequantize(codes, scales, signed, dtype), signed)
    assert torch.equal(again, codes)
    assert torch.equal(scales_again, scales)


@MAPS
@pytest.mark.parametrize("scale", [2.0**-100, 1.7e-20, 1.0, 3.3e38])
def test_every_code_survives_being_read_and_stored(scale: float, signed: bool) -> None:
    codes = torch.arange(256, dtype=torch.uint8).unsqueeze(0)
    scales = torch.tensor([[scale]])
    again, scales_again = quantize(dequantize(codes, scales, signed), signed)
    assert torch.equal(again, codes)
    assert torch.equal(scales_again, scales)


def test_a_block_whose_extreme_is_negative_does_not_shrink() -> None:
    matrix = torch.tensor([[-3.0, 1.0, 2.9]])
    codes, scales = quantize(matrix, signed=True)
    assert float(dequantize(codes, scales, signed=True)[0, 0]) == -3.0


def test_a_positive_mean_square_is_never_stored_as_zero() -> None:
    squares = torch.tensor([[1.0, 1e-7, 1e-12, 1e-30, 0.0]])
    stored = dequantize(*quantize(squares, signed=False), signed=False)
    torch.testing.assert_close(stored, torch.tensor([[1.0, 3.25e-7, 3.25e-7, 3.25e-7, 0.0]]))


def test_negative_entries_of_an_unsigned_matrix_are_stored_as_zero() -> None:
    matrix = torch.tensor([[-1.0, -1e-9, -0.0, 0.5]])
    stored = dequantize(*quantize(matrix, signed=False), signed=False)
    assert stored[0, :3].tolist() == [0.0, 0.0, 0.0]
    assert float(stored[0, 3]) == pytest.approx(0.5, rel=0.01)


@MAPS
@pytest.mark.parametrize("tiny", [0.0, -0.0, 1e-45, 2.0**-101])
def test_blocks_of_zeros_and_nearly_zeros_come_back_as_zeros(tiny: float, signed: bool) -> None:
    matrix = torch.full((2, 300), tiny)
    matrix[1, :256] = 1.0
    codes, scales = quantize(matrix, signed)
    assert scales.tolist() == [[0.0, 0.0], [1.0, 0.0]]
    stored = dequantize(codes, scales, signed)
    assert torch.equal(stored, torch.where(matrix == 1.0, 1.0, 0.0))
    again, _ = quantize(stored, signed)
    assert torch.equal(again, codes)


@MAPS
@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_an_entry_that_is_not_finite_spoils_its_block_and_no_other(poison: float, signed: bool) -> None:
    matrix = sample(2, 512, signed)
    clean = dequantize(*quantize(matrix, signed), signed)
    matrix[0, 300] = poison
    stored = dequantize(*quantize(matrix, signed), signed)
    assert not torch.isfinite(stored[0, 256:]).any()
    assert torch.equal(stored[0, :256], clean[0, :256])
    assert torch.equal(stored[1], clean[1])


@MAPS
def test_runs_of_rows_are_stored_as_in_the_whole_and_only_they_are_written(signed: bool) -> None:
    matrix = sample(7, 300, signed)
    whole_codes, whole_scales = quantize(matrix, signed)
    codes = torch.full((9, 300), 77, dtype=torch.uint8)
    scales = torch.full((9, 2), math.nan)
    back = torch.full((9, 300), math.nan)
    for rows in (slice(0, 3), slice(3, 4), slice(4, 7)):
        quantize_into(matrix[rows], codes[rows], scales[rows], signed)
        dequantize_into(codes[rows], scales[rows], signed, back[rows])
    assert torch.equal(codes[:7], whole_codes)
    assert torch.equal(scales[:7], whole_scales)
    assert torch.equal(back[:7], dequantize(whole_codes, whole_scales, signed))
    assert (codes[7:] == 77).all()
    assert scales[7:].isnan().all()
    assert back[7:].isnan().all()


def test_a_transposed_matrix_is_stored_like_its_copy_and_left_alone() -> None:
    matrix = sample(300, 5, True).t()
    before = matrix.clone()
    codes, scales = quantize(matrix, True)
    copied_codes, copied_scales = quantize(matrix.contiguous(), True)
    assert torch.equal(codes, copied_codes)
    assert torch.equal(scales, copied_scales)
    assert torch.equal(matrix, before)


@pytest.mark.parametrize("shape", [(0, 300), (3, 0), (0, 0)])
def test_empty_matrices(shape: tuple[int, int]) -> None:
    codes, scales = quantize(torch.empty(shape), True)
    assert scales.shape == scales_shape(shape)
    assert dequantize(codes, scales, True).shape == shape


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_the_result_is_rounded_once_to_the_dtype_asked_for(dtype: torch.dtype) -> None:
    codes, scales = quantize(sample(3, 300, True), True)
    stored = dequantize(codes, scales, True, dtype)
    assert stored.dtype == dtype
    assert torch.equal(stored, dequantize(codes, scales, True).to(dtype))


def test_messages_say_what_would_be_right() -> None:
    codes, scales = quantize(torch.ones(2, 300), True)
    with pytest.raises(ValueError, match=r"matrix must have 2 dimensions"):
        quantize(torch.ones(3), True)
    with pytest.raises(ValueError, match=r"matrix must have .* floating-point dtype, got .*int64"):
        quantize_into(torch.ones(2, 300, dtype=torch.int64), codes, scales, True)
    with pytest.raises(
        ValueError, match=r"scales .* must have shape \(2, 2\) and torch\.float32, got \(2, 1\)"
    ):
        quantize_into(torch.ones(2, 300), codes, scales[:, :1], True)
    with pytest.raises(ValueError, match=r"codes .* must have shape \(2, 300\) and torch\.uint8"):
        dequantize_into(codes.int(), scales, True, torch.ones(2, 300))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@MAPS
def test_cuda_gives_the_same_codes_and_scales(signed: bool) -> None:
    matrix = sample(33, 700, signed)
    codes, scales = quantize(matrix, signed)
    there_codes, there_scales = quantize(matrix.cuda(), signed)
    assert torch.equal(there_codes.cpu(), codes)
    assert torch.equal(there_scales.cpu(), scales)
    assert torch.equal(dequantize(there_codes, there_scales, signed).cpu(), dequantize(codes, scales, signed))
