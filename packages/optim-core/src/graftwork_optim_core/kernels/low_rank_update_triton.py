"""Updates of rank r and random perturbations as Triton kernels; what they compute stands in
:mod:`graftwork_optim_core.kernels.low_rank_update`.

One launch serves all weights of a dtype: a table holds of every weight its address, shape and place, and of
every program which weight's tile it takes. A program reads and writes its tile once; the rows of U that it
needs, or its elements of z, it draws in registers, with the layout of
:mod:`graftwork_optim_core.numerics.philox`.

The normal numbers are those of the CPU but for rounding, some parts in ten million: the words and the angle
are equal bit by bit, the logarithm is the device library's, and cosine and sine are polynomials of a quarter
turn (the library's keep a table in memory for large angles, which do not occur here). So that the angle is
rounded before its quarters are taken off, products and sums are fused only where the kernel says so.

bfloat16 weights are rounded to nearest or with the bits of
:mod:`graftwork_optim_core.numerics.stochastic_rounding`, other weights to nearest.

Raises ``ImportError`` on import where triton is missing. ``TRITON_INTERPRET=1`` in the environment, set
before this module is imported, runs the kernels on the CPU; there a store in bfloat16 truncates instead
of rounding.
"""

# What triton compiles is no Python: its arguments have no types until the call.
# mypy: disable-error-code="no-untyped-call, no-untyped-def, untyped-decorator"
from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import triton  # type: ignore[import-untyped, import-not-found, unused-ignore]
import triton.language as tl  # type: ignore[import-untyped, import-not-found, unused-ignore]
from torch import Tensor

from graftwork_optim_core.numerics.philox import RADIANS_PER_UNIT
from graftwork_optim_core.numerics.stochastic_rounding import (
    _GOLDEN_RATIO,
    _GOLDEN_RATIO_32,
    _LARGEST,
    _MURMUR_32,
    _MURMUR_64,
)

DTYPES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}
"""Of the weights that the kernels take."""

# With 4 warps a thread draws one number of U at a time and has 32 of the weight, in 95 to 145 registers. Of
# wider tiles, which draw less, those in float32 spill.
_TILE_ROWS = 32
_TILE_COLUMNS = 128
_TILE_BLOCKS = 512
_WARPS = 4

_FIELDS = tl.constexpr(9)
# So many columns of U are drawn at once, one number a thread: a column alone would be drawn by every thread
# that has a piece of its rows, many times over.
_DRAWN_COLUMNS = tl.constexpr(4)
_RADIANS = tl.constexpr(RADIANS_PER_UNIT)
# Half of pi in float32, and what that lacks. Quarters are few and so their products with it exact.
_HALF_PI = tl.constexpr(1.5707963705062866)
_HALF_PI_REST = tl.constexpr(-4.371138828673793e-08)
# sin x = x + x^3 (S0 + S1 x^2 + S2 x^4) and cos x = 1 - x^2 / 2 + x^4 (C0 + C1 x^2 + C2 x^4) up to pi / 4:
# least squares on Chebyshev nodes; with arithmetic in float32 off by at most 5e-8 and 8e-8.
_S0 = tl.constexpr(-0.166666641831398)
_S1 = tl.constexpr(0.008332747034728527)
_S2 = tl.constexpr(-0.00019587612769100815)
_C0 = tl.constexpr(0.041666675359010696)
_C1 = tl.constexpr(-0.0013888961402699351)
_C2 = tl.constexpr(2.463317650835961e-05)
_GOLDEN = tl.constexpr(_GOLDEN_RATIO)
_GOLDEN_WORD = tl.constexpr(_GOLDEN_RATIO_32 & 0xFFFFFFFF)
_LONG_A = tl.constexpr(_MURMUR_64[0])
_LONG_B = tl.constexpr(_MURMUR_64[1])
_SHORT_A = tl.constexpr(_MURMUR_32[0] & 0xFFFFFFFF)
_SHORT_B = tl.constexpr(_MURMUR_32[1] & 0xFFFFFFFF)
_LARGEST_BFLOAT16 = tl.constexpr(_LARGEST)


class Target(NamedTuple):
    """One weight as a kernel is told of it.

    Args:
        weight: address.
        left: address of A, 0 where U is drawn.
        right: address of V, 0 where z is drawn.
        rows: of the weight.
        columns: of the weight.
        stride: from row to row, in elements.
        first: first row, or first element, of a shard in its whole.
        parameter_index: which parameter it is.
    """

    weight: int
    left: int
    right: int
    rows: int
    columns: int
    stride: int
    first: int
    parameter_index: int


def perturb_low_rank(
    weights: Sequence[Tensor],
    rights: Sequence[Tensor],
    coefficient: Tensor,
    seed: int,
    moment: Tensor,
    parameter_indices: Sequence[int],
    role: int,
    first_rows: Sequence[int],
    rounding: Tensor | None,
) -> None:
    """Add ``coefficient U_i V_i^T``; see :func:`~.low_rank_update.perturb_low_rank`."""
    rights = [right.float().contiguous() for right in rights]
    targets = tuple(
        _target(weight, 0, right.data_ptr(), first, index)
        for weight, right, first, index in zip(weights, rights, first_rows, parameter_indices, strict=True)
    )
    _update(weights[0], targets, rights[0].shape[1], coefficient, None, moment, seed, role, rounding)


def merge_low_rank(
    weights: Sequence[Tensor],
    lefts: Sequence[Tensor],
    rights: Sequence[Tensor],
    scale: Tensor,
    decay: Tensor,
    parameter_indices: Sequence[int],
    first_rows: Sequence[int],
    rounding: Tensor | None,
) -> None:
    """Replace by ``decay W_i + scale A_i V_i^T``; see :func:`~.low_rank_update.merge_low_rank`."""
    lefts, rights = ([factor.float().contiguous() for factor in factors] for factors in (lefts, rights))
    addresses = ((left.data_ptr(), right.data_ptr()) for left, right in zip(lefts, rights, strict=True))
    targets = tuple(
        _target(weight, *factors, first, index)
        for weight, factors, first, index in zip(
            weights, addresses, first_rows, parameter_indices, strict=True
        )
    )
    _update(weights[0], targets, rights[0].shape[1], scale, decay, None, 0, 0, rounding)


def perturb_full(
    weights: Sequence[Tensor],
    coefficient: Tensor,
    seed: int,
    moment: Tensor,
    parameter_indices: Sequence[int],
    role: int,
    first_elements: Sequence[int],
) -> None:
    """Add ``coefficient z_i``; see :func:`~.low_rank_update.perturb_full`."""
    targets = tuple(
        # Without gaps a matrix is one long row, and no element's row need be found.
        _target(weight.view(1, -1) if weight.is_contiguous() else weight, 0, 0, first, index)
        for weight, first, index in zip(weights, first_elements, parameter_indices, strict=True)
    )
    for aligned, chosen in _by_alignment(targets, by_element=True):
        tiles = (
            _cdiv(target.first % 4 + target.rows * target.columns, 4 * _TILE_BLOCKS) for target in chosen
        )
        table, target_of_tile = _kept_table(chosen, tuple(tiles), weights[0].device)
        with _device_of(weights[0]):
            _full_kernel[(len(target_of_tile),)](
                *(table, target_of_tile, coefficient, moment, _signed(seed), role),
                **{"weight_type": DTYPES[weights[0].dtype], "aligned": aligned},
                **{"gapless": all(target.rows == 1 for target in chosen), "tile_blocks": _TILE_BLOCKS},
                **{"num_warps": _WARPS, "enable_fp_fusion": False},
            )


def _update(
    weight: Tensor,
    targets: tuple[Target, ...],
    rank: int,
    scale: Tensor,
    decay: Tensor | None,
    moment: Tensor | None,
    seed: int,
    role: int,
    rounding: Tensor | None,
) -> None:
    """Update all targets; U is drawn if there is a moment."""
    stochastic = rounding is not None and weight.dtype == torch.bfloat16
    # Two at least, or triton 3.5 moves the drawing of a lone one into every thread after all.
    columns_at_once = max(2, min(rank, _DRAWN_COLUMNS.value))
    for aligned, chosen in _by_alignment(targets, by_element=False):
        tiles = (_cdiv(target.rows, _TILE_ROWS) * _cdiv(target.columns, _TILE_COLUMNS) for target in chosen)
        table, target_of_tile = _kept_table(chosen, tuple(tiles), weight.device)
        with _device_of(weight):
            _update_kernel[(len(target_of_tile),)](
                *(table, target_of_tile, scale, scale if decay is None else decay),
                # Where nothing is drawn or rounded any address does: none is read.
                *(table if moment is None else moment, rounding if stochastic else table),
                *(_signed(seed), role, rank),
                **{"weight_type": DTYPES[weight.dtype], "columns_at_once": columns_at_once},
                **{"parts": len(rounding) if stochastic and rounding is not None else 0},
                **{"drawn": moment is not None, "decays": decay is not None, "stochastic": stochastic},
                **{"aligned": aligned, "tile_rows": _TILE_ROWS, "tile_columns": _TILE_COLUMNS},
                # Said because the default changes between releases of triton, and see above.
                **{"num_warps": _WARPS, "enable_fp_fusion": False},
            )


def _by_alignment(targets: Sequence[Target], by_element: bool) -> list[tuple[bool, tuple[Target, ...]]]:
    """Part the targets whose rows all begin on 16 bytes, and whose accesses are wide, from the others.

    Targets without elements are left out. Nearly always one part has all.

    Args:
        targets: to be parted.
        by_element: what is drawn comes in blocks of four elements of the weight, which must begin there too.
    """
    parts: dict[bool, list[Target]] = {}
    for target in targets:
        if target.rows and target.columns:
            whole = target.weight | target.stride | target.columns | 4 * target.first * by_element
            parts.setdefault(whole % 16 == 0, []).append(target)
    return [(aligned, tuple(part)) for aligned, part in parts.items()]


_captured: dict[tuple[Any, ...], tuple[Tensor, Tensor]] = {}


def _kept_table(
    targets: tuple[Target, ...], tiles: tuple[int, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return the table, which a captured graph reads at every replay and which then must never go."""
    made = _table(targets, tiles, device)
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        _captured[targets, tiles, device] = made
    return made


@lru_cache(maxsize=16)
def _table(
    targets: tuple[Target, ...], tiles: tuple[int, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return the table ``[targets, fields]`` and the target of every tile.

    Kept, because a copy to the device at every step would wait for it, and pinned for the same reason.
    """
    firsts = torch.tensor(tiles).cumsum(0) - torch.tensor(tiles)
    rows = [(*target, int(first)) for target, first in zip(targets, firsts, strict=True)]
    table = torch.tensor(rows, dtype=torch.int64)
    target_of_tile = torch.arange(len(tiles), dtype=torch.int32).repeat_interleave(torch.tensor(tiles))
    if device.type == "cpu":
        return table, target_of_tile
    return (
        table.pin_memory().to(device, non_blocking=True),
        target_of_tile.pin_memory().to(device, non_blocking=True),
    )


def _target(weight: Tensor, left: int, right: int, first: int, parameter_index: int) -> Target:
    rows, columns = weight.shape
    return Target(weight.data_ptr(), left, right, rows, columns, _row_stride(weight), first, parameter_index)


def _row_stride(weight: Tensor) -> int:
    # Of a single row the stride means nothing, but an odd one would say that nothing is aligned.
    return weight.stride(0) if weight.shape[0] > 1 else 0


def _cdiv(length: int, size: int) -> int:
    return -(-length // size)


def _signed(seed: int) -> int:
    return seed - (seed >> 63 << 64)


def _device_of(tensor: Tensor) -> contextlib.AbstractContextManager[Any]:
    # Triton launches on the current device, whatever device its arguments are on.
    return torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext()


@triton.jit
def _radius(word):
    """Return ``sqrt(-2 ln u1)`` of words."""
    uniform = ((word >> 8) + 1).to(tl.float32) * 5.9604644775390625e-08
    return tl.sqrt_rn(-2.0 * tl.log(uniform))


@triton.jit
def _turn(word):
    """Return quarters of a turn from -2 to 2, and cosine and sine of the rest of the angle, of words."""
    units = word.to(tl.int32, bitcast=True) >> 8
    quarters = (units + 2097152) >> 22
    angle = units.to(tl.float32) * _RADIANS
    rest = angle - quarters.to(tl.float32) * _HALF_PI
    rest -= quarters.to(tl.float32) * _HALF_PI_REST
    square = rest * rest
    cosine = tl.fma(tl.fma(tl.fma(square, _C2, _C1), square, _C0), square * square, 1.0 - 0.5 * square)
    sine = tl.fma(tl.fma(tl.fma(square, _S2, _S1), square, _S0), square * rest, rest)
    return quarters, cosine, sine


@triton.jit
def _cosine(quarters, cosine, sine):
    """Return the cosine of the whole angle."""
    magnitude = tl.where((quarters & 1) == 0, cosine, sine)
    return tl.where(((quarters + 1) & 2) == 0, magnitude, -magnitude)


@triton.jit
def _elements(seed, elements, moment, parameter_index, role):
    """Return the normal numbers of single elements, int64 of any shape."""
    block = (elements >> 2).to(tl.uint32)
    zero = block * 0
    x0, x1, x2, x3 = tl.philox(seed, block, zero + moment, zero + parameter_index, zero + role)
    late = (elements & 2) != 0
    radius = _radius(tl.where(late, x2, x0))
    quarters, cosine, sine = _turn(tl.where(late, x3, x1))
    # A sine is the cosine of a quarter less.
    return radius * _cosine(quarters - (elements & 1).to(tl.int32), cosine, sine)


@triton.jit
def _mixed(value):
    value ^= (value.to(tl.uint64, bitcast=True) >> 33).to(tl.int64, bitcast=True)
    value *= _LONG_A
    value ^= (value.to(tl.uint64, bitcast=True) >> 33).to(tl.int64, bitcast=True)
    value *= _LONG_B
    return value ^ (value.to(tl.uint64, bitcast=True) >> 33).to(tl.int64, bitcast=True)


@triton.jit
def _rounded_stochastically(values, elements, parameter_index, rounding, parts: tl.constexpr):
    """Return float32 values that bfloat16 holds, except those beyond its largest."""
    state = _mixed(parameter_index + _GOLDEN)
    for place in tl.static_range(parts):
        state = _mixed(state + _GOLDEN + tl.load(rounding + place))
    first_key = (state & 0xFFFFFFFF).to(tl.uint32)
    second_key = ((state >> 32) & 0xFFFFFFFF).to(tl.uint32)
    noise = (elements >> 1).to(tl.uint32) * _GOLDEN_WORD + first_key
    noise = (noise ^ (noise >> 16)) * _SHORT_A + second_key
    noise = (noise ^ (noise >> 13)) * _SHORT_B
    noise ^= noise >> 16
    # The noise is 16 bits with a sign; half their range on top makes it uniform from 0.
    half = tl.where((elements & 1) == 0, noise, noise >> 16) & 0xFFFF
    bits = values.to(tl.uint32, bitcast=True) + (half ^ 0x8000)
    rounded = (bits & 0xFFFF0000).to(tl.float32, bitcast=True)
    return tl.where(tl.abs(values) <= _LARGEST_BFLOAT16, rounded, values)


# One scalar more or less aligned is no reason to compile again, nor is another seed.
@triton.jit(
    do_not_specialize=["seed", "role", "rank"],
    do_not_specialize_on_alignment=["scale", "decay", "moment", "rounding"],
)
def _update_kernel(
    table,
    target_of_tile,
    scale,
    decay,
    moment,
    rounding,
    seed: tl.int64,
    role: tl.int64,
    rank,
    weight_type: tl.constexpr,
    columns_at_once: tl.constexpr,
    parts: tl.constexpr,
    drawn: tl.constexpr,
    decays: tl.constexpr,
    stochastic: tl.constexpr,
    aligned: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
):
    index = tl.program_id(0)
    entry = table + tl.load(target_of_tile + index).to(tl.int64) * _FIELDS
    weight = tl.load(entry).to(tl.pointer_type(weight_type))
    left = tl.load(entry + 1).to(tl.pointer_type(tl.float32))
    right = tl.load(entry + 2).to(tl.pointer_type(tl.float32))
    rows = tl.load(entry + 3)
    columns = tl.load(entry + 4)
    stride = tl.load(entry + 5)
    first_row = tl.load(entry + 6)
    parameter_index = tl.load(entry + 7)
    if aligned:
        weight = tl.multiple_of(weight, 16)
        columns = tl.multiple_of(columns, 16)
        stride = tl.multiple_of(stride, 16)
    tile = (index - tl.load(entry + 8)).to(tl.int32)
    across = tl.cdiv(columns, tile_columns).to(tl.int32)
    # In 64 bits: a weight may have more than 2 ** 31 elements.
    row = (tile // across).to(tl.int64) * tile_rows + tl.arange(0, tile_rows)
    column = (tile % across).to(tl.int64) * tile_columns + tl.arange(0, tile_columns)
    row_inside, column_inside = row < rows, column < columns
    inside = row_inside[:, None] & column_inside[None, :]
    at = weight + row[:, None] * stride + column[None, :]
    values = tl.load(at, mask=inside, other=0.0).to(tl.float32)
    factor = tl.load(scale).to(tl.float32)
    if drawn:
        when = tl.load(moment).to(tl.uint32)
    product = tl.zeros((tile_rows, tile_columns), tl.float32)
    lane = tl.arange(0, _DRAWN_COLUMNS)
    # The rank is no constant, so that the loop is not unrolled: side by side, its passes do not fit
    # registers.
    for first_place in range(0, rank, _DRAWN_COLUMNS):
        places = (first_place + lane)[None, :]
        if drawn:
            several = factor * _elements(
                *(seed, (first_row + row)[:, None] * rank + places),
                *(when, parameter_index.to(tl.uint32), role.to(tl.uint32)),
            )
        else:
            several = factor * tl.load(
                left + row[:, None] * rank + places, mask=row_inside[:, None] & (places < rank), other=0.0
            )
        for offset in tl.static_range(columns_at_once):
            u = tl.sum(tl.where(lane[None, :] == offset, several, 0.0), axis=1)
            place = first_place + offset
            columns_left = tl.where(place < rank, columns, 0)
            v = tl.load(right + column * rank + place, mask=column < columns_left, other=0.0)
            product = tl.fma(u[:, None], v[None, :], product)
    if decays:
        values *= tl.load(decay).to(tl.float32)
    values += product
    if stochastic:
        elements = ((first_row + row) * columns)[:, None] + column[None, :]
        values = _rounded_stochastically(values, elements, parameter_index, rounding, parts)
    tl.store(at, values.to(weight_type), mask=inside)


@triton.jit(
    do_not_specialize=["seed", "role"],
    do_not_specialize_on_alignment=["coefficient", "moment"],
)
def _full_kernel(
    table,
    target_of_tile,
    coefficient,
    moment,
    seed: tl.int64,
    role: tl.int64,
    weight_type: tl.constexpr,
    gapless: tl.constexpr,
    aligned: tl.constexpr,
    tile_blocks: tl.constexpr,
):
    index = tl.program_id(0)
    entry = table + tl.load(target_of_tile + index).to(tl.int64) * _FIELDS
    weight = tl.load(entry).to(tl.pointer_type(weight_type))
    columns = tl.load(entry + 4)
    count = tl.load(entry + 3) * columns
    stride = tl.load(entry + 5)
    first = tl.load(entry + 6)
    parameter_index = tl.load(entry + 7)
    tile_start = (index - tl.load(entry + 8)).to(tl.int64) * tile_blocks
    # Tiles are whole blocks of the generator; the first one of a shard may begin before it.
    local = 4 * tile_start - first % 4 + tl.arange(0, 4 * tile_blocks)
    if aligned:
        weight = tl.multiple_of(weight, 16)
        count = tl.multiple_of(count, 16)
        stride = tl.multiple_of(stride, 16)
        local = 4 * tile_start + tl.arange(0, 4 * tile_blocks)
    inside = local < count if aligned else (local >= 0) & (local < count)
    at = weight + local
    if not gapless:
        at = weight + (local // columns) * stride + local % columns
    values = tl.load(at, mask=inside, other=0.0).to(tl.float32)
    factor = tl.load(coefficient).to(tl.float32)
    block = ((first >> 2) + tile_start + tl.arange(0, tile_blocks)).to(tl.uint32)
    zero = block * 0
    x0, x1, x2, x3 = tl.philox(
        *(seed, block, zero + tl.load(moment).to(tl.uint32)),
        *(zero + parameter_index.to(tl.uint32), zero + role.to(tl.uint32)),
    )
    early_radius, late_radius = _radius(x0), _radius(x2)
    early_quarters, early_cosine, early_sine = _turn(x1)
    late_quarters, late_cosine, late_sine = _turn(x3)
    n0 = early_radius * _cosine(early_quarters, early_cosine, early_sine)
    n1 = early_radius * _cosine(early_quarters - 1, early_cosine, early_sine)
    n2 = late_radius * _cosine(late_quarters, late_cosine, late_sine)
    n3 = late_radius * _cosine(late_quarters - 1, late_cosine, late_sine)
    normal = tl.reshape(tl.join(tl.join(n0, n2), tl.join(n1, n3)), (4 * tile_blocks,))
    values += factor * normal
    tl.store(at, values.to(weight_type), mask=inside)
