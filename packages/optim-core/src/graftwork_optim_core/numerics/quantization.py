"""Running averages in eight bits: blocks of 256 columns of a row, each divided by its absolute maximum.

Source: Dettmers et al., 8-bit Optimizers via Block-wise Quantization, arXiv:2110.02861, sections 1.3 and 2.
With s the absolute maximum of a block and Q the 256 levels of :func:`dynamic_map`,

    code = argmin over i of |Q_i - x / s|,        x' = s Q_code.

A block lies within one row, so any run of rows is stored as in the whole. Two departures from the paper:

* The signed map holds -1 and gives up its smallest negative level for it. Without -1 a block whose extreme is
  negative would come back smaller each time it is stored.
* A positive entry of an unsigned matrix takes the smallest positive level at least. Rounded to zero, a mean
  square under a running mean that is not zero would make a step without bound (the zero-point problem of Li
  et al., arXiv:2309.01507).

Error, with j = 0..5: where 10^-(j+1) s <= |x| <= 10^-j s, |x' - x| is at most 0.45 * 10^-j * 2^(j-6) s, and
half of that unsigned. That is 7.1 % of x (unsigned 3.6 %) in the first decade and twice as much in each
further one. Below 10^-6 s it is at most 1.63 * 10^-6 s (unsigned 3.25 * 10^-7 s). On normal values the mean
of |x' - x| / |x| is 1.5 %, and 1.4 % on their squares above 10^-4 s.

What has been stored once is stored the same again, bit for bit: ``quantize(dequantize(codes, scales))`` in
float32 or float64 gives ``codes`` and ``scales``. For that a block whose absolute maximum is below 2**-100 is
stored as zeros: its levels would fall among the subnormal numbers.

Shapes: matrix ``[rows, columns]``; codes ``[rows, columns]``, uint8; scales ``[rows, ceil(columns / 256)]``,
float32. The arithmetic is float32. A block with an entry that is not finite comes back without a finite one.
The first call on a device moves two small tables there, so it must not fall into a graph capture.

Raises ValueError where a shape or dtype is not as said.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK_COLUMNS = 256
"""Columns of a row that share one scale."""

_DECADES = 7
_SMALLEST_SCALE = 2.0**-100


@cache
def dynamic_map(signed: bool) -> tuple[float, ...]:
    """Return the 256 levels of the dynamic tree in ascending order.

    Decade j, from 10^-(j+1) to 10^-j with j = 0..6, is cut into ``2 ** (6 - j)`` equal parts (twice as many
    unsigned), whose middles are levels, with both signs in the signed map. To them come 0, 1 and, signed, -1.

    >>> dynamic_map(True)[0], dynamic_map(True)[127], dynamic_map(True)[255]
    (-1.0, 0.0, 1.0)
    >>> dynamic_map(False)[0], dynamic_map(False)[1], dynamic_map(False)[255]
    (0.0, 3.25e-07, 1.0)
    """
    magnitudes: list[float] = []
    for decade in reversed(range(_DECADES)):
        parts = 2 ** (_DECADES - 1 - decade) * (1 if signed else 2)
        magnitudes += [(0.1 + 0.9 * (part + 0.5) / parts) / 10**decade for part in range(parts)]
    negatives = [-magnitude for magnitude in magnitudes[1:]] + [-1.0] if signed else []
    return tuple(sorted([*negatives, 0.0, *magnitudes, 1.0]))


def quantize(matrix: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
    """Return the codes and scales of a matrix.

    Halfway between two levels, the lower one is taken.

    Args:
        matrix: ``[rows, columns]``, floating point.
        signed: which map; negative entries of an unsigned matrix are stored as zero.

    >>> codes, scales = quantize(torch.tensor([[0.0, -3.0, 3.0]]), signed=True)
    >>> codes.tolist(), scales.tolist()
    ([[127, 0, 255]], [[3.0]])
    """
    if matrix.ndim != 2:
        raise ValueError(f"matrix must have 2 dimensions, got shape {tuple(matrix.shape)}")
    codes = torch.empty(matrix.shape, dtype=torch.uint8, device=matrix.device)
    scales = torch.empty(scales_shape(matrix.shape), dtype=torch.float32, device=matrix.device)
    quantize_into(matrix, codes, scales, signed)
    return codes, scales


def quantize_into(matrix: Tensor, codes: Tensor, scales: Tensor, signed: bool) -> None:
    """Write the codes and scales of a matrix into tensors that exist, see :func:`quantize`.

    >>> codes, scales = torch.empty(1, 2, dtype=torch.uint8), torch.empty(1, 1)
    >>> quantize_into(torch.tensor([[4.0, 0.0]]), codes, scales, signed=False)
    >>> codes.tolist(), scales.tolist()
    ([[255, 0]], [[4.0]])
    """
    _check(matrix, codes, scales)
    for columns, blocks, width in _runs(matrix.shape[1]):
        run = _in_blocks(matrix, columns, width).to(torch.float32)
        largest = run.abs().amax(dim=-1)
        # Comparisons that NaN fails: it stays a scale, to be seen when the block is read.
        scale = largest.masked_fill_(largest < _SMALLEST_SCALE, 0.0)
        divisor = scale.masked_fill(scale == 0, math.inf).unsqueeze(-1)
        _in_blocks(codes, columns, width).copy_(_nearest(run / divisor, signed))
        scales[:, blocks].copy_(scale)


def dequantize(codes: Tensor, scales: Tensor, signed: bool, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the matrix that codes and scales stand for.

    Args:
        codes: ``[rows, columns]``, uint8.
        scales: ``[rows, ceil(columns / 256)]``, float32.
        signed: the map that :func:`quantize` was called with.
        dtype: of the result, rounded to from float32.

    >>> dequantize(torch.tensor([[127, 0, 255]], dtype=torch.uint8), torch.tensor([[3.0]]), signed=True)
    tensor([[ 0., -3.,  3.]])
    """
    matrix = torch.empty(codes.shape, dtype=dtype, device=codes.device)
    dequantize_into(codes, scales, signed, matrix)
    return matrix


def dequantize_into(codes: Tensor, scales: Tensor, signed: bool, matrix: Tensor) -> None:
    """Write what codes and scales stand for into a matrix that exists, see :func:`dequantize`.

    >>> matrix = torch.empty(1, 1)
    >>> dequantize_into(torch.tensor([[255]], dtype=torch.uint8), torch.tensor([[3.0]]), True, matrix)
    >>> matrix
    tensor([[3.]])
    """
    _check(matrix, codes, scales)
    levels = _tables(signed, codes.device).levels
    for columns, blocks, width in _runs(codes.shape[1]):
        run = _in_blocks(codes, columns, width)
        values = levels.index_select(0, run.flatten().int()).view(run.shape)
        _in_blocks(matrix, columns, width).copy_(values.mul_(scales[:, blocks].unsqueeze(-1)))


def scales_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the shape of the scales of a matrix.

    >>> scales_shape((7, 300))
    (7, 2)
    """
    rows, columns = shape
    return rows, -(-columns // BLOCK_COLUMNS)


class _Tables(NamedTuple):
    levels: Tensor
    """``[256]`` float32."""

    thresholds: Tensor
    """``[256]`` float32: above the i-th the code is more than i; the last is infinite."""

    first_codes: Tensor
    """``[65536]`` uint8: code of the least number with these upper 16 bits."""


@cache
def _tables(signed: bool, device: torch.device) -> _Tables:
    levels = torch.tensor(dynamic_map(signed), dtype=torch.float64)
    middles = ((levels[1:] + levels[:-1]) / 2).float()
    if not signed:
        middles[0] = 0.0
    upper_bits = torch.arange(2**16, dtype=torch.int64)
    least_bits = (upper_bits << 16) | torch.where(upper_bits < 2**15, 0, 2**16 - 1)
    first_codes = torch.bucketize(least_bits.to(torch.int32).view(torch.float32), middles)
    thresholds = torch.cat([middles, torch.tensor([math.inf])])
    return _Tables(levels.float().to(device), thresholds.to(device), first_codes.to(torch.uint8).to(device))


def _nearest(quotients: Tensor, signed: bool) -> Tensor:
    """Return the codes of numbers in [-1, 1], float32 and contiguous.

    Levels are further apart than float32 numbers whose upper 16 bits agree, so those bits leave two codes to
    choose from. On a CPU this is 25 times faster than ``torch.bucketize``.
    """
    tables = _tables(signed, quotients.device)
    flat = quotients.flatten()
    codes = tables.first_codes.index_select(0, (flat.view(torch.int32) >> 16).bitwise_and_(2**16 - 1))
    return codes.add_(flat > tables.thresholds.index_select(0, codes.int())).view(quotients.shape)


def _runs(columns: int) -> Iterator[tuple[slice, slice, int]]:
    """Yield ``(columns, blocks, columns a block)`` of the full blocks and of the last short one."""
    full, rest = divmod(columns, BLOCK_COLUMNS)
    if full:
        yield slice(0, full * BLOCK_COLUMNS), slice(0, full), BLOCK_COLUMNS
    if rest:
        yield slice(full * BLOCK_COLUMNS, columns), slice(full, full + 1), rest


def _in_blocks(matrix: Tensor, columns: slice, width: int) -> Tensor:
    """View columns of a matrix as ``[rows, blocks, width]``."""
    run = matrix[:, columns]
    return run.view(run.shape[0], run.shape[1] // width, width)


def _check(matrix: Tensor, codes: Tensor, scales: Tensor) -> None:
    if matrix.ndim != 2 or not matrix.is_floating_point():
        raise ValueError(
            f"matrix must have 2 dimensions and a floating-point dtype, got shape {tuple(matrix.shape)} and "
            f"{matrix.dtype}"
        )
    expected = {
        "codes": (codes, tuple(matrix.shape), torch.uint8),
        "scales": (scales, scales_shape(matrix.shape), torch.float32),
    }
    for name, (tensor, shape, dtype) in expected.items():
        if tuple(tensor.shape) != shape or tensor.dtype != dtype:
            raise ValueError(
                f"{name} of a matrix of shape {tuple(matrix.shape)} must have shape {shape} and {dtype}, "
                f"got {tuple(tensor.shape)} and {tensor.dtype}"
            )
