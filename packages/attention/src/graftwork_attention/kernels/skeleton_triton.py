"""Skeleton attention and its gradients as Triton kernels; what they compute stands in
:mod:`graftwork_attention.kernels.skeleton_reference`.

Forward, a program has a tile of tokens of one sample and goes over the heads twice: once for mean and
variance of both branches, once to write what they normalise. Landmarks come in blocks, with the running
maximum of their scores, and so do channels. Backward recomputes the softmaxes from queries and landmarks:

* ``_rows_gradient_kernel``, with the same tiles, makes the sums over channels that LayerNorm needs, then the
  gradients of queries and value channels, and leaves logsumexp and ``sum(weights * their gradients)`` of
  every row for the others;
* ``_landmarks_gradient_kernel`` sums the gradients of keys and values of one block of landmarks, and of the
  first LayerNorm's weights, over a part of the tokens;
* ``_channels_gradient_kernel`` likewise those of one block of channel weights and the second LayerNorm's.

The parts are summed afterwards, in one order: results do not depend on which program ends first.

Raises ``ImportError`` on import where triton is missing. ``TRITON_INTERPRET=1`` in the environment, set
before this module is imported, runs the kernels on the CPU; there a store in bfloat16 truncates instead of
rounding.

Longer than other files: the four kernels share their blocks and what they save, and are changed together.
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

# Of products of float32, which are summed in float32 then. Three products of TF32 take more registers.
_PRECISION = tl.constexpr("ieee")


def tiles(width: int, landmarks: int, channels: int, itemsize: int) -> dict[str, int]:
    """Return the sizes of tiles with which no kernel spills, and what else the compiler is told."""
    padded_width = padded(width)
    widest_block = 16 if itemsize == 4 else 32
    return {
        "padded_width": padded_width,
        "tile": 16 if itemsize == 4 or padded_width > 64 else 32,
        "landmark_block": min(widest_block, padded(landmarks)),
        "channel_block": min(widest_block, padded(channels)),
        "num_warps": 8 if padded_width > 32 else 4,
        "num_stages": 1,
        # All that a thread may have: left to itself, the assembler saves some and spills a few numbers.
        "maxnreg": 255,
    }


def forward(
    q: Tensor,
    key_tokens: Tensor,
    value_tokens: Tensor,
    value_channels: Tensor,
    channel_weights: Tensor,
    token_valid: Tensor | None,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    eps: float,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """Return Y and, float32 ``[4, batch, tokens]``, mean and reciprocal deviation of both branches."""
    call = _Call(q, key_tokens, value_tokens, value_channels, channel_weights, token_valid, scale)
    batch, tokens, heads, width = q.shape
    y = torch.empty(batch, tokens, heads * width, dtype=q.dtype, device=q.device)
    statistics = torch.empty(4, batch, tokens, dtype=torch.float32, device=q.device)
    if y.numel() == 0:
        return y, statistics
    with device_of(q):
        _forward_kernel[call.grid_of_rows](
            *(*call.inputs, weight1, bias1, weight2, bias2, y, statistics, eps, *call.numbers), **call.options
        )
    return y, statistics


def backward(
    gradient: Tensor,
    q: Tensor,
    key_tokens: Tensor,
    value_tokens: Tensor,
    value_channels: Tensor,
    channel_weights: Tensor,
    token_valid: Tensor | None,
    weight1: Tensor,
    weight2: Tensor,
    statistics: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of q, key_tokens, value_tokens, value_channels, channel_weights, weight1, weight2
    and of either bias.
    """
    call = _Call(q, key_tokens, value_tokens, value_channels, channel_weights, token_valid, scale)
    batch, tokens, heads, width = q.shape
    landmarks, channels = key_tokens.shape[2], value_channels.shape[3]
    gradient = gradient.contiguous()
    numbers: dict[str, Any] = {"dtype": torch.float32, "device": q.device}
    q_gradient = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    channels_gradient = torch.empty(value_channels.shape, dtype=q.dtype, device=q.device)
    parts = split_count(tokens, call.options["tile"], batch * heads)
    keys_parts, values_parts = torch.empty(2, parts, batch, heads, landmarks, width, **numbers)
    weights_parts = torch.empty(parts, batch, heads, width, channels, **numbers)
    # Of the weight of either norm and of the bias, which is one sum for both.
    affine_parts = torch.empty(3, parts * batch, heads * width, **numbers)
    if q_gradient.numel():
        sums = torch.empty(4, batch, tokens, **numbers)
        rows = torch.empty(2, batch, heads, tokens, **numbers)
        shared = (weight1, weight2, gradient, statistics, sums)
        with device_of(q):
            _rows_gradient_kernel[call.grid_of_rows](
                *(*call.inputs, *shared, rows, q_gradient, channels_gradient, *call.numbers), **call.options
            )
            _landmarks_gradient_kernel[(batch * heads, parts, call.landmark_blocks)](
                *(*call.inputs, *shared, rows, keys_parts, values_parts, affine_parts, *call.numbers),
                **call.options,
            )
            _channels_gradient_kernel[(batch * heads, parts, call.channel_blocks)](
                *(*call.inputs, *shared, weights_parts, affine_parts, *call.numbers), **call.options
            )
    else:
        for part in (keys_parts, values_parts, weights_parts, affine_parts):
            part.zero_()
    weight1_gradient, weight2_gradient, bias_gradient = affine_parts.sum(1)
    return (
        q_gradient,
        keys_parts.sum(0).to(key_tokens.dtype),
        values_parts.sum(0).to(value_tokens.dtype),
        channels_gradient,
        weights_parts.sum(0).to(channel_weights.dtype),
        weight1_gradient,
        weight2_gradient,
        bias_gradient,
    )


class _Call:
    """The arguments that all kernels share."""

    def __init__(
        self,
        q: Tensor,
        key_tokens: Tensor,
        value_tokens: Tensor,
        value_channels: Tensor,
        channel_weights: Tensor,
        token_valid: Tensor | None,
        scale: float,
    ) -> None:
        batch, tokens, heads, width = q.shape
        landmarks, channels = key_tokens.shape[2], value_channels.shape[3]
        q, value_channels = rows_contiguous(q), rows_contiguous(value_channels)
        self.inputs = (
            *(q, key_tokens.contiguous(), value_tokens.contiguous(), value_channels),
            *(channel_weights.contiguous(), q if token_valid is None else token_valid.contiguous()),
        )
        self.numbers = (
            *(scale, tokens, heads, width, landmarks, channels),
            *(q.stride(0), q.stride(1), value_channels.stride(0), value_channels.stride(1)),
        )
        self.options: dict[str, Any] = {
            "masked": token_valid is not None,
            "product": product_type(q.dtype),
            **tiles(width, landmarks, channels, q.itemsize),
        }
        self.grid_of_rows = (triton.cdiv(tokens, self.options["tile"]), batch)
        self.landmark_blocks = triton.cdiv(landmarks, self.options["landmark_block"])
        self.channel_blocks = triton.cdiv(channels, self.options["channel_block"])


@triton.jit
def _block_of_landmarks(
    keys,
    values,
    valid,
    first,
    landmarks,
    column,
    width,
    landmark_block: tl.constexpr,
    masked: tl.constexpr,
    product: tl.constexpr,
):
    """Return keys and values ``[landmark_block, padded_width]``, zero in padding, and which are none."""
    landmark = first + tl.arange(0, landmark_block)
    inside = landmark < landmarks
    if masked:
        inside = tl.load(valid + landmark, mask=inside, other=0) != 0
    at = landmark[:, None] * width + column[None, :]
    both = inside[:, None] & (column < width)[None, :]
    key = tl.load(keys + at, mask=both, other=0.0).to(product)
    return key, tl.load(values + at, mask=both, other=0.0).to(product), inside


@triton.jit
def _token_branch(
    query,
    keys,
    values,
    valid,
    scale,
    landmarks,
    column,
    width,
    landmark_block: tl.constexpr,
    masked: tl.constexpr,
    product: tl.constexpr,
):
    """Return Y1 of a tile and a head ``[tile, padded_width]`` and the logsumexp of its scores ``[tile]``."""
    top = tl.full((query.shape[0],), float("-inf"), tl.float32)
    shift = tl.zeros((query.shape[0],), tl.float32)
    total = tl.zeros((query.shape[0],), tl.float32)
    mixed = tl.zeros(query.shape, tl.float32)
    for first in range(0, landmarks, landmark_block):
        key, value, inside = _block_of_landmarks(
            keys, values, valid, first, landmarks, column, width, landmark_block, masked, product
        )
        scores = scale * tl.dot(query, tl.trans(key), input_precision=_PRECISION)
        scores = tl.where(inside[None, :], scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        # Without a valid landmark so far there is nothing to shift, and no infinity less infinity.
        shift = tl.where(higher == float("-inf"), 0.0, higher)
        kept = tl.exp(top - shift)
        weights = tl.exp(scores - shift[:, None])
        total = kept * total + tl.sum(weights, axis=1)
        mixed = kept[:, None] * mixed + tl.dot(weights.to(product), value, input_precision=_PRECISION)
        top = higher
    total = tl.where(total == 0.0, 1.0, total)
    return mixed / total[:, None], shift + tl.log(total)


@triton.jit
def _block_of_channels(
    chosen,
    weights,
    first,
    row,
    row_inside,
    stride,
    channels,
    column,
    width,
    channel_block: tl.constexpr,
    product: tl.constexpr,
):
    """Return value channels ``[tile, channel_block]`` and their weights ``[padded_width, channel_block]``."""
    channel = first + tl.arange(0, channel_block)
    inside = (channel < channels)[None, :]
    values = tl.load(
        chosen + row[:, None] * stride + channel[None, :], mask=row_inside[:, None] & inside, other=0.0
    )
    weight = tl.load(
        weights + column[:, None] * channels + channel[None, :],
        mask=(column < width)[:, None] & inside,
        other=0.0,
    )
    return values.to(product), weight.to(product)


@triton.jit
def _channel_branch(
    chosen,
    weights,
    row,
    row_inside,
    stride,
    channels,
    column,
    width,
    channel_block: tl.constexpr,
    product: tl.constexpr,
):
    """Return Y2 of a tile and a head ``[tile, padded_width]``."""
    mixed = tl.zeros((row.shape[0], column.shape[0]), tl.float32)
    for first in range(0, channels, channel_block):
        values, weight = _block_of_channels(
            *(
                chosen,
                weights,
                first,
                row,
                row_inside,
                stride,
                channels,
                column,
                width,
                channel_block,
                product,
            )
        )
        mixed += tl.dot(values, tl.trans(weight), input_precision=_PRECISION)
    return mixed


@triton.jit
def _with_head(mean, squares, count, y, column_inside, width):
    """Merge one more head into mean and sum of squared deviations of a row (Chan, Golub and LeVeque)."""
    # Padding columns are zero.
    head_mean = tl.sum(y, axis=1) / width
    deviations = tl.where(column_inside[None, :], y - head_mean[:, None], 0.0)
    further = head_mean - mean
    whole = count + width
    squares += tl.sum(deviations * deviations, axis=1) + further * further * (count * width / whole)
    return mean + further * (width / whole), squares


# The heads are gone over twice by one loop: as two, what a branch takes would stand in the program twice.
@triton.jit
def _forward_kernel(
    q,
    key_tokens,
    value_tokens,
    value_channels,
    channel_weights,
    token_valid,
    weight1,
    bias1,
    weight2,
    bias2,
    y,
    statistics,
    eps,
    scale,
    tokens,
    heads,
    width,
    landmarks,
    channels,
    q_sample,
    q_row,
    channels_sample,
    channels_row,
    masked: tl.constexpr,
    product: tl.constexpr,
    padded_width: tl.constexpr,
    tile: tl.constexpr,
    landmark_block: tl.constexpr,
    channel_block: tl.constexpr,
):
    # In 64 bits: a batch may have more than 2 ** 31 elements. Inside a tile 32 are enough.
    sample = tl.program_id(1).to(tl.int64)
    start = tl.program_id(0).to(tl.int64) * tile
    row = tl.arange(0, tile)
    row_inside = row < tokens - start
    column = tl.arange(0, padded_width)
    column_inside = column < width
    inside = row_inside[:, None] & column_inside[None, :]
    q += sample * q_sample + start * q_row
    value_channels += sample * channels_sample + start * channels_row
    y += (sample * tokens + start) * heads * width
    key_tokens += sample * heads * landmarks * width
    value_tokens += sample * heads * landmarks * width
    channel_weights += sample * heads * width * channels
    valid = token_valid + sample * landmarks
    mean1 = tl.zeros((tile,), tl.float32)
    mean2 = tl.zeros((tile,), tl.float32)
    squares1 = tl.zeros((tile,), tl.float32)
    squares2 = tl.zeros((tile,), tl.float32)
    for step in range(0, 2 * heads):
        head = step % heads
        place = head * width + column
        query = tl.load(q + row[:, None] * q_row + place[None, :], mask=inside, other=0.0).to(product)
        y2 = _channel_branch(
            *(value_channels + head * channels, channel_weights + head * width * channels, row, row_inside),
            *(channels_row, channels, column, width, channel_block, product),
        )
        y1, _ = _token_branch(
            *(query, key_tokens + head * landmarks * width, value_tokens + head * landmarks * width, valid),
            *(scale, landmarks, column, width, landmark_block, masked, product),
        )
        if step < heads:
            mean1, squares1 = _with_head(mean1, squares1, head * width, y1, column_inside, width)
            mean2, squares2 = _with_head(mean2, squares2, head * width, y2, column_inside, width)
        else:
            factor1 = tl.load(weight1 + place, mask=column_inside, other=0.0).to(tl.float32)
            factor2 = tl.load(weight2 + place, mask=column_inside, other=0.0).to(tl.float32)
            summand = tl.load(bias1 + place, mask=column_inside, other=0.0).to(tl.float32)
            summand += tl.load(bias2 + place, mask=column_inside, other=0.0).to(tl.float32)
            inverse1 = tl.rsqrt(squares1 / (heads * width) + eps)
            inverse2 = tl.rsqrt(squares2 / (heads * width) + eps)
            mixed = (y1 - mean1[:, None]) * inverse1[:, None] * factor1[None, :]
            mixed += (y2 - mean2[:, None]) * inverse2[:, None] * factor2[None, :]
            mixed = 0.5 * (mixed + summand[None, :])
            at = y + row[:, None] * (heads * width) + place[None, :]
            tl.store(at, mixed.to(y.dtype.element_ty), mask=inside)
    whole = tl.num_programs(1).to(tl.int64) * tokens
    at = statistics + sample * tokens + start + row
    tl.store(at, mean1, mask=row_inside)
    tl.store(at + whole, tl.rsqrt(squares1 / (heads * width) + eps), mask=row_inside)
    tl.store(at + 2 * whole, mean2, mask=row_inside)
    tl.store(at + 3 * whole, tl.rsqrt(squares2 / (heads * width) + eps), mask=row_inside)


@triton.jit
def _through_norm(gradient, normal, inverse, sum1, sum2):
    """Return the gradient before a LayerNorm from that of what it normalised."""
    return inverse[:, None] * (gradient - sum1[:, None] - normal * sum2[:, None])


@triton.jit
def _rows_gradient_kernel(
    q,
    key_tokens,
    value_tokens,
    value_channels,
    channel_weights,
    token_valid,
    weight1,
    weight2,
    gradient,
    statistics,
    sums,
    rows,
    q_gradient,
    channels_gradient,
    scale,
    tokens,
    heads,
    width,
    landmarks,
    channels,
    q_sample,
    q_row,
    channels_sample,
    channels_row,
    masked: tl.constexpr,
    product: tl.constexpr,
    padded_width: tl.constexpr,
    tile: tl.constexpr,
    landmark_block: tl.constexpr,
    channel_block: tl.constexpr,
):
    sample = tl.program_id(1).to(tl.int64)
    start = tl.program_id(0).to(tl.int64) * tile
    row = tl.arange(0, tile)
    row_inside = row < tokens - start
    column = tl.arange(0, padded_width)
    column_inside = column < width
    inside = row_inside[:, None] & column_inside[None, :]
    q += sample * q_sample + start * q_row
    value_channels += sample * channels_sample + start * channels_row
    gradient += (sample * tokens + start) * heads * width
    q_gradient += (sample * tokens + start) * heads * width
    channels_gradient += (sample * tokens + start) * heads * channels
    key_tokens += sample * heads * landmarks * width
    value_tokens += sample * heads * landmarks * width
    channel_weights += sample * heads * width * channels
    valid = token_valid + sample * landmarks
    whole = tl.num_programs(1).to(tl.int64) * tokens
    statistics += sample * tokens + start
    sums += sample * tokens + start
    rows += sample * heads * tokens + start
    mean1 = tl.load(statistics + row, mask=row_inside, other=0.0)
    inverse1 = tl.load(statistics + whole + row, mask=row_inside, other=0.0)
    mean2 = tl.load(statistics + 2 * whole + row, mask=row_inside, other=0.0)
    inverse2 = tl.load(statistics + 3 * whole + row, mask=row_inside, other=0.0)
    # Means over all heads' channels of the gradients after both norms, alone and times what is normalised.
    sum11 = tl.zeros((tile,), tl.float32)
    sum12 = tl.zeros((tile,), tl.float32)
    sum21 = tl.zeros((tile,), tl.float32)
    sum22 = tl.zeros((tile,), tl.float32)
    for step in range(0, 2 * heads):
        head = step % heads
        place = head * width + column
        keys = key_tokens + head * landmarks * width
        values = value_tokens + head * landmarks * width
        chosen = value_channels + head * channels
        weights = channel_weights + head * width * channels
        slope = tl.load(gradient + row[:, None] * (heads * width) + place[None, :], mask=inside, other=0.0)
        slope = 0.5 * slope.to(tl.float32)
        # One branch after the other: less is kept in registers.
        slope2 = slope * tl.load(weight2 + place, mask=column_inside, other=0.0).to(tl.float32)[None, :]
        normal = _channel_branch(
            *(chosen, weights, row, row_inside, channels_row, channels, column, width, channel_block, product)
        )
        normal = (normal - mean2[:, None]) * inverse2[:, None]
        if step < heads:
            sum21 += tl.sum(slope2, axis=1) / (heads * width)
            sum22 += tl.sum(slope2 * normal, axis=1) / (heads * width)
        else:
            descent2 = _through_norm(slope2, normal, inverse2, sum21, sum22).to(product)
            for first in range(0, channels, channel_block):
                _, weight = _block_of_channels(
                    *(chosen, weights, first, row, row_inside, channels_row, channels, column, width),
                    *(channel_block, product),
                )
                chosen_descent = tl.dot(descent2, weight, input_precision=_PRECISION)
                channel = first + tl.arange(0, channel_block)
                tl.store(
                    channels_gradient
                    + row[:, None] * (heads * channels)
                    + (head * channels + channel)[None, :],
                    chosen_descent.to(channels_gradient.dtype.element_ty),
                    mask=row_inside[:, None] & (channel < channels)[None, :],
                )
        query = tl.load(q + row[:, None] * q_row + place[None, :], mask=inside, other=0.0).to(product)
        slope1 = slope * tl.load(weight1 + place, mask=column_inside, other=0.0).to(tl.float32)[None, :]
        normal, logsumexp = _token_branch(
            *(query, keys, values, valid, scale, landmarks, column, width, landmark_block, masked, product)
        )
        normal = (normal - mean1[:, None]) * inverse1[:, None]
        if step < heads:
            sum11 += tl.sum(slope1, axis=1) / (heads * width)
            sum12 += tl.sum(slope1 * normal, axis=1) / (heads * width)
        else:
            descent1 = _through_norm(slope1, normal, inverse1, sum11, sum12).to(product)
            weighted = tl.zeros((tile,), tl.float32)
            descent = tl.zeros((tile, padded_width), tl.float32)
            # Twice: for the mean of a row's gradients, and for what they are beyond it.
            blocks = tl.cdiv(landmarks, landmark_block)
            for turn in range(0, 2 * blocks):
                key, value, landmark_inside = _block_of_landmarks(
                    *(keys, values, valid, turn % blocks * landmark_block, landmarks, column, width),
                    *(landmark_block, masked, product),
                )
                scores = scale * tl.dot(query, tl.trans(key), input_precision=_PRECISION)
                attention = tl.where(landmark_inside[None, :], tl.exp(scores - logsumexp[:, None]), 0.0)
                steps = tl.dot(descent1, tl.trans(value), input_precision=_PRECISION)
                if turn < blocks:
                    weighted += tl.sum(attention * steps, axis=1)
                else:
                    beyond = (attention * (steps - weighted[:, None])).to(product)
                    descent += tl.dot(beyond, key, input_precision=_PRECISION)
            at = q_gradient + row[:, None] * (heads * width) + place[None, :]
            tl.store(at, (scale * descent).to(q_gradient.dtype.element_ty), mask=inside)
            at = rows + head.to(tl.int64) * tokens + row
            tl.store(at, logsumexp, mask=row_inside)
            tl.store(at + whole * heads, weighted, mask=row_inside)
    tl.store(sums + row, sum11, mask=row_inside)
    tl.store(sums + whole + row, sum12, mask=row_inside)
    tl.store(sums + 2 * whole + row, sum21, mask=row_inside)
    tl.store(sums + 3 * whole + row, sum22, mask=row_inside)


@triton.jit
def _landmarks_gradient_kernel(
    q,
    key_tokens,
    value_tokens,
    value_channels,
    channel_weights,
    token_valid,
    weight1,
    weight2,
    gradient,
    statistics,
    sums,
    rows,
    keys_parts,
    values_parts,
    affine_parts,
    scale,
    tokens,
    heads,
    width,
    landmarks,
    channels,
    q_sample,
    q_row,
    channels_sample,
    channels_row,
    masked: tl.constexpr,
    product: tl.constexpr,
    padded_width: tl.constexpr,
    tile: tl.constexpr,
    landmark_block: tl.constexpr,
    channel_block: tl.constexpr,
):
    part = tl.program_id(1).to(tl.int64)
    number = tl.program_id(0).to(tl.int64)
    sample, head = number // heads, number % heads
    samples = tl.num_programs(0) // heads
    first = tl.program_id(2) * landmark_block
    whole = samples.to(tl.int64) * tokens
    row = tl.arange(0, tile)
    column = tl.arange(0, padded_width)
    column_inside = column < width
    q += sample * q_sample + head * width
    gradient += sample * tokens * heads * width + head * width
    keys = key_tokens + number * landmarks * width
    values = value_tokens + number * landmarks * width
    valid = token_valid + sample * landmarks
    statistics += sample * tokens
    sums += sample * tokens
    rows += number * tokens
    factor = 0.5 * tl.load(weight1 + head * width + column, mask=column_inside, other=0.0).to(tl.float32)
    keys_sum = tl.zeros((landmark_block, padded_width), tl.float32)
    values_sum = tl.zeros((landmark_block, padded_width), tl.float32)
    weight_sum = tl.zeros((padded_width,), tl.float32)
    tiles_each = tl.cdiv(tl.cdiv(tokens, tile), tl.num_programs(1))
    for number_of_tile in range(part * tiles_each, (part + 1) * tiles_each):
        start = number_of_tile * tile
        # Beyond the tokens all is zero, and so are the gradients.
        row_inside = row < tokens - start
        inside = row_inside[:, None] & column_inside[None, :]
        query = tl.load(q + start * q_row + row[:, None] * q_row + column[None, :], mask=inside, other=0.0)
        query = query.to(product)
        at = gradient + start * heads * width + row[:, None] * (heads * width) + column[None, :]
        slope = tl.load(at, mask=inside, other=0.0).to(tl.float32)
        mean = tl.load(statistics + start + row, mask=row_inside, other=0.0)
        inverse = tl.load(statistics + whole + start + row, mask=row_inside, other=0.0)
        sum1 = tl.load(sums + start + row, mask=row_inside, other=0.0)
        sum2 = tl.load(sums + whole + start + row, mask=row_inside, other=0.0)
        logsumexp = tl.load(rows + start + row, mask=row_inside, other=0.0)
        weighted = tl.load(rows + whole * heads + start + row, mask=row_inside, other=0.0)
        normal, _ = _token_branch(
            *(query, keys, values, valid, scale, landmarks, column, width, landmark_block, masked, product)
        )
        normal = (normal - mean[:, None]) * inverse[:, None]
        weight_sum += tl.sum(slope * normal, axis=0)
        descent = _through_norm(slope * factor[None, :], normal, inverse, sum1, sum2).to(product)
        key, value, landmark_inside = _block_of_landmarks(
            keys, values, valid, first, landmarks, column, width, landmark_block, masked, product
        )
        scores = scale * tl.dot(query, tl.trans(key), input_precision=_PRECISION)
        attention = tl.where(landmark_inside[None, :], tl.exp(scores - logsumexp[:, None]), 0.0)
        values_sum += tl.dot(tl.trans(attention.to(product)), descent, input_precision=_PRECISION)
        steps = tl.dot(descent, tl.trans(value), input_precision=_PRECISION) - weighted[:, None]
        keys_sum += tl.dot(tl.trans((attention * steps).to(product)), query, input_precision=_PRECISION)
    landmark = first + tl.arange(0, landmark_block)
    base = (part * samples * heads + number) * landmarks * width
    at = base + landmark[:, None] * width + column[None, :]
    inside = (landmark < landmarks)[:, None] & column_inside[None, :]
    tl.store(keys_parts + at, scale * keys_sum, mask=inside)
    tl.store(values_parts + at, values_sum, mask=inside)
    base = (part * samples + sample) * heads * width + head * width
    tl.store(affine_parts + base + column, 0.5 * weight_sum, mask=column + first * width < width)


@triton.jit
def _channels_gradient_kernel(
    q,
    key_tokens,
    value_tokens,
    value_channels,
    channel_weights,
    token_valid,
    weight1,
    weight2,
    gradient,
    statistics,
    sums,
    weights_parts,
    affine_parts,
    scale,
    tokens,
    heads,
    width,
    landmarks,
    channels,
    q_sample,
    q_row,
    channels_sample,
    channels_row,
    masked: tl.constexpr,
    product: tl.constexpr,
    padded_width: tl.constexpr,
    tile: tl.constexpr,
    landmark_block: tl.constexpr,
    channel_block: tl.constexpr,
):
    part = tl.program_id(1).to(tl.int64)
    number = tl.program_id(0).to(tl.int64)
    sample, head = number // heads, number % heads
    samples = tl.num_programs(0) // heads
    first = tl.program_id(2) * channel_block
    whole = samples.to(tl.int64) * tokens
    row = tl.arange(0, tile)
    column = tl.arange(0, padded_width)
    column_inside = column < width
    value_channels += sample * channels_sample + head * channels
    weights = channel_weights + number * width * channels
    gradient += sample * tokens * heads * width + head * width
    statistics += 2 * whole + sample * tokens
    sums += 2 * whole + sample * tokens
    factor = 0.5 * tl.load(weight2 + head * width + column, mask=column_inside, other=0.0).to(tl.float32)
    weights_sum = tl.zeros((padded_width, channel_block), tl.float32)
    weight_sum = tl.zeros((padded_width,), tl.float32)
    bias_sum = tl.zeros((padded_width,), tl.float32)
    tiles_each = tl.cdiv(tl.cdiv(tokens, tile), tl.num_programs(1))
    for number_of_tile in range(part * tiles_each, (part + 1) * tiles_each):
        start = number_of_tile * tile
        row_inside = row < tokens - start
        inside = row_inside[:, None] & column_inside[None, :]
        at = gradient + start * heads * width + row[:, None] * (heads * width) + column[None, :]
        slope = tl.load(at, mask=inside, other=0.0).to(tl.float32)
        mean = tl.load(statistics + start + row, mask=row_inside, other=0.0)
        inverse = tl.load(statistics + whole + start + row, mask=row_inside, other=0.0)
        sum1 = tl.load(sums + start + row, mask=row_inside, other=0.0)
        sum2 = tl.load(sums + whole + start + row, mask=row_inside, other=0.0)
        chosen = value_channels + start * channels_row
        normal = _channel_branch(
            *(chosen, weights, row, row_inside, channels_row, channels, column, width, channel_block, product)
        )
        normal = (normal - mean[:, None]) * inverse[:, None]
        weight_sum += tl.sum(slope * normal, axis=0)
        bias_sum += tl.sum(slope, axis=0)
        descent = _through_norm(slope * factor[None, :], normal, inverse, sum1, sum2).to(product)
        block, _ = _block_of_channels(
            *(chosen, weights, first, row, row_inside, channels_row, channels, column, width),
            *(channel_block, product),
        )
        weights_sum += tl.dot(tl.trans(descent), block, input_precision=_PRECISION)
    channel = first + tl.arange(0, channel_block)
    base = (part * samples * heads + number) * width * channels
    at = base + column[:, None] * channels + channel[None, :]
    tl.store(weights_parts + at, weights_sum, mask=column_inside[:, None] & (channel < channels)[None, :])
    affine = tl.num_programs(1).to(tl.int64) * samples * heads * width
    base = affine + (part * samples + sample) * heads * width + head * width
    # Of programs that share a head the first alone, which knows the sums like the others.
    once = column + first * width < width
    tl.store(affine_parts + base + column, 0.5 * weight_sum, mask=once)
    tl.store(affine_parts + affine + base + column, 0.5 * bias_sum, mask=once)
