"""One step of GWT-AdamW for one weight as Triton kernels; what they compute stands in
:mod:`graftwork_optim_core.kernels.haar_adamw_reference`.

A program takes a tile of rows and blocks: it loads the columns of the tile as whole runs, so that
neighbouring threads read neighbouring numbers, and views them as ``[blocks, 2 ** level]`` in registers.
Gradient, weight and averages are read once, weight and averages written once; everything between is
float32 (float64 for float64 weights). A matrix without gaps whose rows end with a block is taken as one
long row.

Norms are summed in two stages, one number a program and then the programs' numbers in a fixed order: no
atomics, so equal inputs give equal bits.

Raises ``ImportError`` on import where triton is missing. ``TRITON_INTERPRET=1`` in the environment, set
before this module is imported, runs the kernels on the CPU; there a store in bfloat16 truncates instead
of rounding.

The file is long because a kernel takes some twenty arguments, each on a line of its own.
"""

# What triton compiles is no Python: its arguments have no types until the call.
# mypy: disable-error-code="no-untyped-call, no-untyped-def, untyped-decorator"
from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import torch
import triton  # type: ignore[import-untyped, import-not-found, unused-ignore]
import triton.language as tl  # type: ignore[import-untyped, import-not-found, unused-ignore]
from torch import Tensor

from graftwork_optim_core.common.parameters import arithmetic_dtype
from graftwork_optim_core.numerics.haar import DETAIL_BOUND

DEEPEST_LEVEL = 10
"""Deeper blocks do not fit a tile."""

# Bytes of arithmetic a tile: with 4 warps 64 a thread, that is four loads of 16 bytes for the gradient
# and four for the weight. Compiled for aligned rows, the step takes 56 to 116 registers, so that four or
# more programs share a multiprocessor, which then has several times the bytes in flight that the latency of
# its memory asks for.
_TILE_BYTES = 8192
_WARPS = 4

# The correction is almost always empty: programs enough to fill a large device, and few enough to start in
# no time.
_MOST_CORRECTING_PROGRAMS = 1024

_BOUND = tl.constexpr(DETAIL_BOUND)


class Tiling(NamedTuple):
    """How a weight is cut.

    Args:
        rows: of the matrix as the kernel takes it, 1 where it is taken as one long row.
        width: likewise.
        blocks: likewise.
        tile_rows: rows a program, a power of two.
        tile_blocks: blocks a program, a power of two.
    """

    rows: int
    width: int
    blocks: int
    tile_rows: int
    tile_blocks: int

    @property
    def tiles(self) -> int:
        """How many tiles."""
        return int(triton.cdiv(self.rows, self.tile_rows) * triton.cdiv(self.blocks, self.tile_blocks))


def tiling(rows: int, width: int, level: int, arithmetic: torch.dtype, gapless: bool) -> Tiling:
    """Return how to cut a weight.

    >>> tiling(512, 1376, 2, torch.float32, gapless=True)
    Tiling(rows=1, width=704512, blocks=176128, tile_rows=1, tile_blocks=512)
    >>> tiling(512, 13, 2, torch.float32, gapless=True)
    Tiling(rows=512, width=13, blocks=4, tile_rows=128, tile_blocks=4)
    """
    block = 1 << level
    blocks = -(-width // block)
    if gapless and width % block == 0:
        rows, width, blocks = 1, rows * width, rows * blocks
    elements = _TILE_BYTES // arithmetic.itemsize
    tile_blocks = min(_power_of_two(blocks), max(1, elements // block))
    tile_rows = min(_power_of_two(rows), max(1, elements // (tile_blocks * block)))
    return Tiling(rows, width, blocks, tile_rows, tile_blocks)


def haar_adamw_step(
    values: Tensor,
    gradient: Tensor,
    mean: Tensor,
    mean_square: Tensor,
    factors: Tensor,
    *,
    level: int,
    guard: bool,
    beta1: float,
    beta2: float,
    eps: float,
    maximize: bool,
) -> Tensor:
    """Update values and both averages in place; see :func:`~.haar_adamw.haar_adamw_step`."""
    arithmetic = arithmetic_dtype(values)
    cut = _cut(level, values, gradient, mean, mean_square)
    partials = torch.empty(cut.tiles, dtype=arithmetic, device=values.device)
    if cut.tiles:
        with _device_of(values):
            _step_kernel[(cut.tiles,)](
                *(values, gradient, mean, mean_square, factors, partials),
                *(cut.rows, cut.width, cut.blocks),
                *_row_strides(cut, values, gradient, mean, mean_square),
                # Complements are taken here: 1 - 0.999 in float32 is off by a part in 10^5.
                *(1 - beta1, beta2, 1 - beta2, eps),
                **_constants(cut, level, guard, maximize, arithmetic),
            )
    return partials.sum()


def haar_adamw_correct(
    values: Tensor,
    gradient: Tensor,
    mean: Tensor,
    mean_square: Tensor,
    factors: Tensor,
    excess: Tensor,
    *,
    level: int,
    guard: bool,
    eps: float,
    maximize: bool,
) -> None:
    """Take back a share of the step in place; see :func:`~.haar_adamw.haar_adamw_correct`."""
    cut = _cut(level, values, gradient, mean, mean_square)
    if cut.tiles:
        with _device_of(values):
            _correct_kernel[(min(cut.tiles, _MOST_CORRECTING_PROGRAMS),)](
                *(values, gradient, mean, mean_square, factors, excess),
                *(cut.rows, cut.width, cut.blocks),
                *_row_strides(cut, values, gradient, mean, mean_square),
                *(eps, cut.tiles),
                **_constants(cut, level, guard, maximize, arithmetic_dtype(values)),
            )


def finite_extent(gradient: Tensor, level: int) -> Tensor:
    """Return the squared norm of the coarse gradient; see :func:`~.haar_adamw.finite_extent`."""
    arithmetic = arithmetic_dtype(gradient)
    cut = _cut(level, gradient)
    partials = torch.empty(cut.tiles, dtype=arithmetic, device=gradient.device)
    if cut.tiles:
        constants = _constants(cut, level, False, False, arithmetic)
        del constants["guard"], constants["maximize"]
        with _device_of(gradient):
            _extent_kernel[(cut.tiles,)](
                *(gradient, partials, cut.rows, cut.width, cut.blocks),
                *_row_strides(cut, gradient),
                **constants,
            )
    return partials.sum()


def _cut(level: int, *matrices: Tensor) -> Tiling:
    first = matrices[0]
    gapless = all(matrix.is_contiguous() for matrix in matrices)
    return tiling(first.shape[0], first.shape[1], level, arithmetic_dtype(first), gapless)


def _row_strides(cut: Tiling, *matrices: Tensor) -> list[int]:
    # Of a single row the stride means nothing, but from an odd one triton would conclude
    # that nothing is aligned.
    return [matrix.stride(0) if cut.rows > 1 else 0 for matrix in matrices]


def _constants(
    cut: Tiling, level: int, guard: bool, maximize: bool, arithmetic: torch.dtype
) -> dict[str, Any]:
    return {
        "level": level,
        "unit": 2.0 ** (-level / 2),
        "guard": guard,
        "maximize": maximize,
        "arithmetic": tl.float64 if arithmetic == torch.float64 else tl.float32,
        "tile_rows": cut.tile_rows,
        "tile_blocks": cut.tile_blocks,
        "num_warps": _WARPS,
        # Said because the default changes between releases of triton.
        "enable_fp_fusion": True,
    }


def _power_of_two(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()


def _device_of(tensor: Tensor) -> contextlib.AbstractContextManager[Any]:
    # Triton launches on the current device, whatever device its arguments are on.
    return torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext()


@triton.jit
def _tile(
    index, rows, width, blocks, level: tl.constexpr, tile_rows: tl.constexpr, tile_blocks: tl.constexpr
):
    """Return a tile's first row, first block, and its masks over columns and over blocks."""
    across = tl.cdiv(blocks, tile_blocks)
    # From here on in 64 bits: a weight may have more than 2 ** 31 elements.
    first_row = (index // across).to(tl.int64) * tile_rows
    first_block = (index % across).to(tl.int64) * tile_blocks
    row_inside = (tl.arange(0, tile_rows) < rows - first_row)[:, None]
    column_inside = (tl.arange(0, tile_blocks << level) < width - (first_block << level))[None, :]
    block_inside = (tl.arange(0, tile_blocks) < blocks - first_block)[None, :]
    return first_row, first_block, row_inside & column_inside, row_inside & block_inside


@triton.jit
def _pointers(start, stride, first_row, first_column, tile_rows: tl.constexpr, columns: tl.constexpr):
    start += first_row * stride + first_column
    row_offsets = tl.arange(0, tile_rows).to(tl.int64) * stride
    return (start + row_offsets)[:, None] + tl.arange(0, columns)[None, :]


@triton.jit
def _load_blocks(
    pointers,
    inside,
    maximize: tl.constexpr,
    arithmetic: tl.constexpr,
    level: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_blocks: tl.constexpr,
):
    """Load a gradient as ``[blocks of the tile, 2 ** level]``, zero outside."""
    gradient = tl.load(pointers, mask=inside, other=0.0).to(arithmetic)
    if maximize:
        gradient = -gradient
    return tl.reshape(gradient, (tile_rows * tile_blocks, 1 << level))


@triton.jit
def _load_average(
    pointers, inside, arithmetic: tl.constexpr, tile_rows: tl.constexpr, tile_blocks: tl.constexpr
):
    average = tl.load(pointers, mask=inside, other=0.0).to(arithmetic)
    return tl.reshape(average, (tile_rows * tile_blocks,))


@triton.jit
def _update(
    gradient,
    coarse,
    mean,
    denominator,
    mean_correction,
    root_correction,
    level: tl.constexpr,
    unit: tl.constexpr,
    guard: tl.constexpr,
):
    """Return U of a tile, ``[blocks, 2 ** level]``."""
    inverse_root = root_correction / denominator
    running_mean = mean * unit * inverse_root * mean_correction
    if level == 0:
        # A block of one column is its own mean: no detail is left, not even one of rounding.
        update = running_mean[:, None]
    elif guard:
        details = (gradient - (coarse * unit)[:, None]) * inverse_root[:, None]
        update = tl.minimum(tl.maximum(details, -_BOUND), _BOUND) + running_mean[:, None]
    else:
        shift = running_mean - coarse * unit * inverse_root * mean_correction
        update = gradient * (inverse_root * mean_correction)[:, None] + shift[:, None]
    return update


# One scalar more or less aligned is no reason to compile again.
@triton.jit(do_not_specialize_on_alignment=["factors"])
def _step_kernel(
    values,
    gradient,
    mean,
    mean_square,
    factors,
    partials,
    rows,
    width,
    blocks,
    values_stride,
    gradient_stride,
    mean_stride,
    mean_square_stride,
    mean_weight: tl.float64,
    square_kept: tl.float64,
    square_weight: tl.float64,
    eps: tl.float64,
    level: tl.constexpr,
    unit: tl.constexpr,
    guard: tl.constexpr,
    maximize: tl.constexpr,
    arithmetic: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_blocks: tl.constexpr,
):
    columns: tl.constexpr = tile_blocks << level
    index = tl.program_id(0)
    first_row, first_block, inside, block_inside = _tile(
        index, rows, width, blocks, level, tile_rows, tile_blocks
    )
    first_column = first_block << level
    gradient_at = _pointers(gradient, gradient_stride, first_row, first_column, tile_rows, columns)
    values_at = _pointers(values, values_stride, first_row, first_column, tile_rows, columns)
    mean_at = _pointers(mean, mean_stride, first_row, first_block, tile_rows, tile_blocks)
    square_at = _pointers(mean_square, mean_square_stride, first_row, first_block, tile_rows, tile_blocks)
    # All loads come first, and none depends on the gate: their latencies overlap.
    g = _load_blocks(gradient_at, inside, maximize, arithmetic, level, tile_rows, tile_blocks)
    w = tl.load(values_at, mask=inside, other=0.0).to(arithmetic)
    m = _load_average(mean_at, block_inside, arithmetic, tile_rows, tile_blocks)
    v = _load_average(square_at, block_inside, arithmetic, tile_rows, tile_blocks)
    mean_correction = tl.load(factors)
    root_correction = tl.load(factors + 1)
    rate = tl.load(factors + 2)
    kept = tl.load(factors + 3)
    gate = tl.load(factors + 4)

    coarse = tl.sum(g, axis=1) * unit
    m += (coarse - m) * tl.full((), mean_weight, arithmetic)
    v *= tl.full((), square_kept, arithmetic)
    v += coarse * coarse * tl.full((), square_weight, arithmetic)
    smallest_root = tl.full((), eps, arithmetic)
    direction = m / (tl.sqrt(v) + smallest_root)
    tl.store(partials + index, tl.where(gate != 0, tl.sum(direction * direction, axis=0), 0.0))

    opened = tl.full((1, 1), gate, arithmetic) != 0
    # The direction comes from the averages as they are stored, so that the correction can find it again.
    stored_mean = m.to(mean.dtype.element_ty)
    stored_square = v.to(mean_square.dtype.element_ty)
    tl.store(mean_at, tl.reshape(stored_mean, (tile_rows, tile_blocks)), mask=block_inside & opened)
    tl.store(square_at, tl.reshape(stored_square, (tile_rows, tile_blocks)), mask=block_inside & opened)
    denominator = tl.sqrt(stored_square.to(arithmetic)) + smallest_root
    update = _update(
        *(g, coarse, stored_mean.to(arithmetic), denominator, mean_correction, root_correction),
        *(level, unit, guard),
    )
    w = (w - rate * tl.reshape(update, (tile_rows, columns))) * kept
    tl.store(values_at, w.to(values.dtype.element_ty), mask=inside & opened)


@triton.jit(do_not_specialize_on_alignment=["factors", "excess"])
def _correct_kernel(
    values,
    gradient,
    mean,
    mean_square,
    factors,
    excess,
    rows,
    width,
    blocks,
    values_stride,
    gradient_stride,
    mean_stride,
    mean_square_stride,
    eps: tl.float64,
    tiles,
    level: tl.constexpr,
    unit: tl.constexpr,
    guard: tl.constexpr,
    maximize: tl.constexpr,
    arithmetic: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_blocks: tl.constexpr,
):
    columns: tl.constexpr = tile_blocks << level
    share = tl.load(excess).to(arithmetic)
    mean_correction = tl.load(factors)
    root_correction = tl.load(factors + 1)
    back = tl.load(factors + 2) * tl.load(factors + 3) * share
    moves = (share != 0) & (tl.load(factors + 4) != 0)
    for index in range(tl.program_id(0), tl.where(moves, tiles, 0), tl.num_programs(0)):
        first_row, first_block, inside, block_inside = _tile(
            index, rows, width, blocks, level, tile_rows, tile_blocks
        )
        first_column = first_block << level
        gradient_at = _pointers(gradient, gradient_stride, first_row, first_column, tile_rows, columns)
        values_at = _pointers(values, values_stride, first_row, first_column, tile_rows, columns)
        mean_at = _pointers(mean, mean_stride, first_row, first_block, tile_rows, tile_blocks)
        square_at = _pointers(mean_square, mean_square_stride, first_row, first_block, tile_rows, tile_blocks)
        g = _load_blocks(gradient_at, inside, maximize, arithmetic, level, tile_rows, tile_blocks)
        w = tl.load(values_at, mask=inside, other=0.0).to(arithmetic)
        m = _load_average(mean_at, block_inside, arithmetic, tile_rows, tile_blocks)
        v = _load_average(square_at, block_inside, arithmetic, tile_rows, tile_blocks)
        coarse = tl.sum(g, axis=1) * unit
        denominator = tl.sqrt(v) + tl.full((), eps, arithmetic)
        update = _update(g, coarse, m, denominator, mean_correction, root_correction, level, unit, guard)
        w += back * tl.reshape(update, (tile_rows, columns))
        tl.store(values_at, w.to(values.dtype.element_ty), mask=inside)


@triton.jit
def _extent_kernel(
    gradient,
    partials,
    rows,
    width,
    blocks,
    gradient_stride,
    level: tl.constexpr,
    unit: tl.constexpr,
    arithmetic: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_blocks: tl.constexpr,
):
    index = tl.program_id(0)
    first_row, first_block, inside, _ = _tile(index, rows, width, blocks, level, tile_rows, tile_blocks)
    pointers = _pointers(
        gradient, gradient_stride, first_row, first_block << level, tile_rows, tile_blocks << level
    )
    g = _load_blocks(pointers, inside, False, arithmetic, level, tile_rows, tile_blocks)
    coarse = tl.sum(g, axis=1) * unit
    tl.store(partials + index, tl.sum(coarse * coarse, axis=0))
