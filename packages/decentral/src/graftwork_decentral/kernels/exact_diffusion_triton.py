"""A step of exact diffusion as Triton kernels; what they compute stands in
:mod:`graftwork_decentral.kernels.exact_diffusion`.

A program takes some columns of all agents, and so needs no other: it reads all of its x, g and D before it
writes. Up to 16 agents are unrolled: a thread has the same columns of every agent in registers, and no
thread needs another's. Of more, padded to a power of two, the columns are one tile, to which W is applied 16
agents at a time on the ordinary units, in IEEE float32; then x, g and D are read again, from the cache as a
rule, for every agent's own part.

Arithmetic is float32 for values in float32, bfloat16 or float16, which are rounded to nearest when stored.

Raises ``ImportError`` on import where triton is missing. ``TRITON_INTERPRET=1`` in the environment, set
before this module is imported, runs the kernels on the CPU; there a store in bfloat16 truncates instead
of rounding.
"""

# What triton compiles is no Python: its arguments have no types until the call.
# mypy: disable-error-code="no-untyped-call, no-untyped-def, untyped-decorator, assignment"
from __future__ import annotations

import contextlib
from typing import Any

import torch
import triton  # type: ignore[import-untyped, import-not-found, unused-ignore]
import triton.language as tl  # type: ignore[import-untyped, import-not-found, unused-ignore]
from torch import Tensor

DTYPES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}
"""Of the values that the kernels take; the correction is float32."""

MOST_AGENTS = 256

_UNROLLED_AGENTS = 16
_UNROLLED_ELEMENTS = 4096
_WARPS = 4
# So much of a sum is unrolled: with 64 agents at once a thread's share of the weights spills.
_INNER_AGENTS = 16
_TILE_ELEMENTS = 4096
_TILED_WARPS = 8


def exact_diffusion(
    values: Tensor,
    direction: Tensor | None,
    correction: Tensor,
    step_size: Tensor | None,
    mixing_matrix: Tensor,
) -> None:
    """Make one step; without a direction the values have moved already."""
    agents, parameters = values.shape
    if agents == 0 or parameters == 0:
        return
    arrays = (values, values if direction is None else direction, correction)
    strides = [_row_stride(array) for array in arrays]
    arguments = (
        *arrays,
        # Where nothing is scaled any address does: none is read.
        *(correction if step_size is None else step_size, mixing_matrix.contiguous()),
        *(parameters, *strides),
    )
    constants: dict[str, Any] = {
        **{"agents": agents, "moves": direction is not None},
        **{"value_type": DTYPES[values.dtype], "num_warps": _WARPS, "enable_fp_fusion": True},
    }
    with _device_of(values):
        if agents <= _UNROLLED_AGENTS:
            columns = max(32, _UNROLLED_ELEMENTS // max(8, 1 << (agents - 1).bit_length()))
            _unrolled_kernel[(_cdiv(parameters, columns),)](*arguments, tile_columns=columns, **constants)
            return
        tile_agents = max(16, 1 << (agents - 1).bit_length())
        columns = max(16, _TILE_ELEMENTS // tile_agents)
        _tiled_kernel[(_cdiv(parameters, columns),)](
            *arguments,
            **{"tile_agents": tile_agents, "inner_agents": _INNER_AGENTS, "tile_columns": columns},
            **{**constants, "num_warps": _TILED_WARPS},
        )


def _row_stride(tensor: Tensor) -> int:
    # Of a single row the stride means nothing, but an odd one would say that nothing is aligned.
    return tensor.stride(0) if tensor.shape[0] > 1 else 0


def _cdiv(length: int, size: int) -> int:
    return -(-length // size)


def _device_of(tensor: Tensor) -> contextlib.AbstractContextManager[Any]:
    # Triton launches on the current device, whatever device its arguments are on.
    return torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext()


@triton.jit
def _local(values, direction, step_size, places, direction_places, inside, moves: tl.constexpr):
    """Return x - a g."""
    local = tl.load(values + places, mask=inside, other=0.0).to(tl.float32)
    if moves:
        gradient = tl.load(direction + direction_places, mask=inside, other=0.0).to(tl.float32)
        local -= tl.load(step_size).to(tl.float32) * gradient
    return local


@triton.jit
def _unrolled_kernel(
    values,
    direction,
    correction,
    step_size,
    mixing_matrix,
    parameters: tl.int64,
    value_stride: tl.int64,
    direction_stride: tl.int64,
    correction_stride: tl.int64,
    agents: tl.constexpr,
    moves: tl.constexpr,
    value_type: tl.constexpr,
    tile_columns: tl.constexpr,
):
    # In 64 bits: a buffer may have more than 2 ** 31 elements.
    columns = tl.program_id(0).to(tl.int64) * tile_columns + tl.arange(0, tile_columns)
    inside = columns < parameters
    duals = ()
    locals_ = ()
    for agent in tl.static_range(agents):
        dual = tl.load(correction + agent * correction_stride + columns, mask=inside, other=0.0)
        local = _local(
            *(values, direction, step_size, agent * value_stride + columns),
            *(agent * direction_stride + columns, inside, moves),
        )
        duals = duals + (dual,)  # noqa: RUF005
        locals_ = locals_ + (local - dual,)  # noqa: RUF005
    for agent in tl.static_range(agents):
        delta = tl.zeros((tile_columns,), tl.float32)
        for other in tl.static_range(agents):
            if other != agent:
                weight = tl.load(mixing_matrix + agent * agents + other).to(tl.float32)
                delta += weight * (locals_[other] - locals_[agent])
        mixed = (locals_[agent] + delta).to(value_type)
        tl.store(values + agent * value_stride + columns, mixed, mask=inside)
        tl.store(correction + agent * correction_stride + columns, duals[agent] - delta, mask=inside)


@triton.jit
def _tiled_kernel(
    values,
    direction,
    correction,
    step_size,
    mixing_matrix,
    parameters: tl.int64,
    value_stride: tl.int64,
    direction_stride: tl.int64,
    correction_stride: tl.int64,
    agents: tl.constexpr,
    moves: tl.constexpr,
    value_type: tl.constexpr,
    tile_agents: tl.constexpr,
    inner_agents: tl.constexpr,
    tile_columns: tl.constexpr,
):
    # In 64 bits: a buffer may have more than 2 ** 31 elements.
    column = tl.program_id(0).to(tl.int64) * tile_columns + tl.arange(0, tile_columns)
    columns, column_inside = column[None, :], (column < parameters)[None, :]
    origin = _local(values, direction, step_size, columns, columns, column_inside, moves)
    origin -= tl.load(correction + columns, mask=column_inside, other=0.0)
    rows = tl.arange(0, tile_agents)
    inside = (rows < agents)[:, None] & column_inside
    value_places = rows.to(tl.int64)[:, None] * value_stride + columns
    dual_places = rows.to(tl.int64)[:, None] * correction_stride + columns
    direction_places = rows.to(tl.int64)[:, None] * direction_stride + columns
    arrived = tl.zeros((tile_agents, tile_columns), tl.float32)
    left = tl.zeros((tile_agents,), tl.float32)
    for first in range(0, agents, inner_agents):
        others = first + tl.arange(0, inner_agents)
        other_inside = (others < agents)[:, None] & column_inside
        wide = others.to(tl.int64)[:, None]
        apart = _local(
            *(values, direction, step_size, wide * value_stride + columns),
            *(wide * direction_stride + columns, other_inside, moves),
        )
        apart -= tl.load(correction + wide * correction_stride + columns, mask=other_inside, other=0.0)
        apart = tl.where(other_inside, apart - origin, 0.0)
        wanted = (rows < agents)[:, None] & (others < agents)[None, :] & (rows[:, None] != others[None, :])
        weights = tl.load(
            mixing_matrix + rows[:, None] * agents + others[None, :], mask=wanted, other=0.0
        ).to(tl.float32)
        arrived = tl.dot(weights, apart, arrived, input_precision="ieee")
        left += tl.sum(weights, axis=1)
    dual = tl.load(correction + dual_places, mask=inside, other=0.0)
    local = _local(values, direction, step_size, value_places, direction_places, inside, moves) - dual
    delta = arrived - left[:, None] * (local - origin)
    # What other threads of this program still have to read must not be written.
    tl.debug_barrier()
    tl.store(values + value_places, (local + delta).to(value_type), mask=inside)
    tl.store(correction + dual_places, dual - delta, mask=inside)
