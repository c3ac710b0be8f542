"""Inner products of channels and their gradients as Triton kernels; what they compute stands in
:mod:`graftwork_attention.kernels.channel_gram_reference`.

A program sums over a part of the tokens of a sample and a head; the parts are summed afterwards, in one
order. Backward, a program has a tile of tokens. For ``TRITON_INTERPRET`` and precision see
:mod:`graftwork_attention.kernels.skeleton_triton`. Raises ``ImportError`` on import where triton is missing.
"""

# What triton compiles is no Python: its arguments have no types until the call.
# mypy: disable-error-code="no-untyped-call, no-untyped-def, untyped-decorator"
from __future__ import annotations

from typing import Any

import torch
import triton  # type: ignore[import-untyped, import-not-found, unused-ignore]
import triton.language as tl  # type: ignore[import-untyped, import-not-found, unused-ignore]
from torch import Tensor

from graftwork_attention.kernels.launching import device_of, padded, rows_contiguous, split_count
from graftwork_attention.kernels.product_type import product_type

# Of products of float32, which are summed in float32 then.
_PRECISION = tl.constexpr("ieee")
_TILE = 32


def forward(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    """Return ``Q^T K`` over the valid tokens, float32 ``[batch, heads, width, channels]``."""
    batch, tokens, heads, width = q.shape
    channels = k.shape[3]
    q, k = rows_contiguous(q), rows_contiguous(k)
    options = _options(q, k, mask)
    parts = split_count(tokens, _TILE, batch * heads)
    gram_parts = torch.empty(parts, batch, heads, width, channels, dtype=torch.float32, device=q.device)
    if gram_parts.numel():
        blocks = triton.cdiv(channels, options["channel_block"])
        with device_of(q):
            _gram_kernel[(batch * heads, parts, blocks)](
                *(q, k, q if mask is None else mask.contiguous(), gram_parts, tokens, heads, width, channels),
                *(q.stride(0), q.stride(1), k.stride(0), k.stride(1)),
                **options,
            )
    return gram_parts.sum(0)


def backward(gradient: Tensor, q: Tensor, k: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the gradients of q and k from that of what :func:`forward` returned."""
    batch, tokens, heads, width = q.shape
    channels = k.shape[3]
    q, k = rows_contiguous(q), rows_contiguous(k)
    options = _options(q, k, mask)
    q_gradient, k_gradient = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k))
    if q_gradient.numel():
        with device_of(q):
            _gradient_kernel[(batch * heads, triton.cdiv(tokens, _TILE))](
                *(
                    q,
                    k,
                    q if mask is None else mask.contiguous(),
                    gradient.contiguous(),
                    q_gradient,
                    k_gradient,
                ),
                *(tokens, heads, width, channels, q.stride(0), q.stride(1), k.stride(0), k.stride(1)),
                **options,
            )
    return q_gradient, k_gradient


def _options(q: Tensor, k: Tensor, mask: Tensor | None) -> dict[str, Any]:
    return {
        "masked": mask is not None,
        "product": product_type(q.dtype),
        "padded_width": padded(q.shape[3]),
        "channel_block": min(32, padded(k.shape[3])),
        "tile": _TILE,
        "num_warps": 4,
        "num_stages": 1,
    }


@triton.jit
def _gram_kernel(
    q,
    k,
    mask,
    gram_parts,
    tokens,
    heads,
    width,
    channels,
    q_sample,
    q_row,
    k_sample,
    k_row,
    masked: tl.constexpr,
    product: tl.constexpr,
    padded_width: tl.constexpr,
    channel_block: tl.constexpr,
    tile: tl.constexpr,
):
    # In 64 bits: a batch may have more than 2 ** 31 elements. Inside a tile 32 are enough.
    part = tl.program_id(1).to(tl.int64)
    number = tl.program_id(0).to(tl.int64)
    sample, head = number // heads, number % heads
    row = tl.arange(0, tile)
    column = tl.arange(0, padded_width)
    channel = tl.program_id(2) * channel_block + tl.arange(0, channel_block)
    q += sample * q_sample + head * width
    k += sample * k_sample + head * channels
    mask += sample * tokens
    total = tl.zeros((padded_width, channel_block), tl.float32)
    tiles_each = tl.cdiv(tl.cdiv(tokens, tile), tl.num_programs(1))
    for number_of_tile in range(part * tiles_each, (part + 1) * tiles_each):
        start = number_of_tile * tile
        inside = row < tokens - start
        if masked:
            inside = tl.load(mask + start + row, mask=inside, other=0) != 0
        query = tl.load(
            q + start * q_row + row[:, None] * q_row + column[None, :],
            mask=inside[:, None] & (column < width)[None, :],
            other=0.0,
        )
        key = tl.load(
            k + start * k_row + row[:, None] * k_row + channel[None, :],
            mask=inside[:, None] & (channel < channels)[None, :],
            other=0.0,
        )
        total += tl.dot(tl.trans(query.to(product)), key.to(product), input_precision=_PRECISION)
    base = (part * tl.num_programs(0) + number) * width * channels
    at = base + column[:, None] * channels + channel[None, :]
    tl.store(gram_parts + at, total, mask=(column < width)[:, None] & (channel < channels)[None, :])


@triton.jit
def _gradient_kernel(
    q,
    k,
    mask,
    gradient,
    q_gradient,
    k_gradient,
    tokens,
    heads,
    width,
    channels,
    q_sample,
    q_row,
    k_sample,
    k_row,
    masked: tl.constexpr,
    product: tl.constexpr,
    padded_width: tl.constexpr,
    channel_block: tl.constexpr,
    tile: tl.constexpr,
):
    number = tl.program_id(0).to(tl.int64)
    sample, head = number // heads, number % heads
    start = tl.program_id(1).to(tl.int64) * tile
    row = tl.arange(0, tile)
    column = tl.arange(0, padded_width)
    column_inside = (column < width)[None, :]
    row_inside = row < tokens - start
    inside = row_inside
    if masked:
        inside = tl.load(mask + sample * tokens + start + row, mask=row_inside, other=0) != 0
    gradient += number * width * channels
    q += sample * q_sample + start * q_row + head * width
    k += sample * k_sample + start * k_row + head * channels
    q_gradient += ((sample * tokens + start) * heads + head) * width
    k_gradient += ((sample * tokens + start) * heads + head) * channels
    query = tl.load(
        q + row[:, None] * q_row + column[None, :], mask=inside[:, None] & column_inside, other=0.0
    )
    query = query.to(product)
    total = tl.zeros((tile, padded_width), tl.float32)
    for first in range(0, channels, channel_block):
        channel = first + tl.arange(0, channel_block)
        channel_inside = (channel < channels)[None, :]
        slope = tl.load(
            gradient + column[:, None] * channels + channel[None, :],
            mask=(column < width)[:, None] & channel_inside,
            other=0.0,
        ).to(product)
        at = row[:, None] * k_row + channel[None, :]
        key = tl.load(k + at, mask=inside[:, None] & channel_inside, other=0.0).to(product)
        total += tl.dot(key, tl.trans(slope), input_precision=_PRECISION)
        tl.store(
            k_gradient + row[:, None] * (heads * channels) + channel[None, :],
            tl.dot(query, slope, input_precision=_PRECISION).to(k_gradient.dtype.element_ty),
            mask=row_inside[:, None] & channel_inside,
        )
    tl.store(
        q_gradient + row[:, None] * (heads * width) + column[None, :],
        total.to(q_gradient.dtype.element_ty),
        mask=row_inside[:, None] & column_inside,
    )
