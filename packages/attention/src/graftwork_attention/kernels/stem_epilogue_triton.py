"""What follows the stem's convolution, and its gradients, as Triton kernels; what they compute stands in
:mod:`graftwork_attention.kernels.stem_epilogue_reference`.

A program has some tokens with all their channels in registers: it reads them once and writes them once, and
backward makes mean and deviation again instead of reading them. Which numbers are dropped depends on the seed
and on a number's place alone, so that backward drops the same. Gradients of weights are summed over a part of
the tokens by each program, and the parts afterwards, in one order.

For ``TRITON_INTERPRET`` see :mod:`graftwork_attention.kernels.skeleton_triton`. Raises ``ImportError`` on
import where triton is missing.
"""

# What triton compiles is no Python: its arguments have no types until the call.
# ruff: noqa: RET505 (an early return is no end to triton)
# mypy: disable-error-code="no-untyped-call, no-untyped-def, untyped-decorator"
from __future__ import annotations

from typing import Any

import torch
import triton  # type: ignore[import-untyped, import-not-found, unused-ignore]
import triton.language as tl  # type: ignore[import-untyped, import-not-found, unused-ignore]
from torch import Tensor

from graftwork_attention.kernels.launching import device_of, split_count

# A thread of 128 has so many numbers of a tile, or a row's if those are more.
_NUMBERS_PER_THREAD = 16


def forward(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mask: Tensor | None,
    seed: Tensor | None,
    norm: str,
    activation: str,
    eps: float,
    dropout: float,
) -> Tensor:
    """Return ``[batch, tokens, dim]``, contiguous."""
    x = x.contiguous()
    y = torch.empty_like(x)
    if x.numel():
        options = _options(x, weight, bias, mask, seed, norm, activation)
        batch, tokens, _ = x.shape
        with device_of(x):
            _forward_kernel[(triton.cdiv(batch * tokens, options["tile"]),)](
                *(
                    x,
                    *(x if given is None else given.contiguous() for given in (weight, bias, mask, seed)),
                    y,
                ),
                *(batch * tokens, tokens, x.shape[2], eps, dropout),
                **options,
            )
    return y


def backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mask: Tensor | None,
    seed: Tensor | None,
    norm: str,
    activation: str,
    eps: float,
    dropout: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, of weight and of bias; the last two float32, there or not."""
    x, gradient = x.contiguous(), gradient.contiguous()
    batch, tokens, dim = x.shape
    options = _options(x, weight, bias, mask, seed, norm, activation)
    x_gradient = torch.empty_like(x)
    by_position = norm == "position"
    parts = split_count(batch * tokens, options["tile"], 1)
    shape = (2, batch, tokens) if by_position else (2, parts, dim)
    sums = torch.empty(shape, dtype=torch.float32, device=x.device)
    if x.numel() == 0:
        sums.zero_()
    else:
        with device_of(x):
            _gradient_kernel[(parts,)](
                *(x, *(x if given is None else given.contiguous() for given in (weight, bias, mask, seed))),
                *(gradient, x_gradient, sums, batch * tokens, tokens, dim, eps, dropout),
                **options,
            )
    weight_gradient, bias_gradient = sums.sum(1)
    return x_gradient, weight_gradient, bias_gradient


def _options(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mask: Tensor | None,
    seed: Tensor | None,
    norm: str,
    activation: str,
) -> dict[str, Any]:
    padded_dim = triton.next_power_of_2(x.shape[2])
    return {
        "weighted": weight is not None,
        "biased": bias is not None,
        "masked": mask is not None,
        "drops": seed is not None,
        "norm": norm,
        "activation": activation,
        "padded_dim": padded_dim,
        "tile": max(1, 128 * _NUMBERS_PER_THREAD // padded_dim),
        "num_warps": 4 if padded_dim <= 2048 else 8,
    }


@triton.jit
def _normal(x, column_inside, dim, eps, norm: tl.constexpr):
    """Return what the weight multiplies, and the reciprocal deviation of every row, 1 without a norm."""
    if norm == "layer":
        mean = tl.sum(x, axis=1) / dim
        deviations = tl.where(column_inside[None, :], x - mean[:, None], 0.0)
        inverse = tl.rsqrt(tl.sum(deviations * deviations, axis=1) / dim + eps)
        normal = deviations * inverse[:, None]
    else:
        normal = x
        inverse = tl.sum(x * 0.0, axis=1) + 1.0
    return normal, inverse


@triton.jit
def _affine(given, row, row_inside, tokens, column, column_inside, norm: tl.constexpr, other: tl.constexpr):
    """Return a weight or bias, to be broadcast to a tile."""
    if norm == "position":
        return tl.load(given + row % tokens, mask=row_inside, other=other).to(tl.float32)[:, None]
    else:
        return tl.load(given + column, mask=column_inside, other=other).to(tl.float32)[None, :]


@triton.jit
def _activated(z, activation: tl.constexpr):
    if activation == "relu":
        return tl.maximum(z, 0.0)
    elif activation == "elu":
        return tl.where(z > 0.0, z, tl.exp(tl.minimum(z, 0.0)) - 1.0)
    else:
        return 0.5 * z * (1.0 + tl.erf(z * 0.7071067811865476))


@triton.jit
def _slope(z, activation: tl.constexpr):
    if activation == "relu":
        return tl.where(z > 0.0, 1.0, 0.0)
    elif activation == "elu":
        return tl.where(z > 0.0, 1.0, tl.exp(tl.minimum(z, 0.0)))
    else:
        return 0.5 * (1.0 + tl.erf(z * 0.7071067811865476)) + 0.3989422804014327 * z * tl.exp(-0.5 * z * z)


@triton.jit
def _kept(seed, row, column, dropout):
    """Return the factors of dropout: 0, or what makes up for the zeros."""
    places = (row[:, None] + 0 * column[None, :]).to(tl.uint32)
    zero = places * 0
    word, _, _, _ = tl.philox(tl.load(seed), places, zero + column[None, :].to(tl.uint32), zero, zero)
    return tl.where(tl.uint_to_uniform_float(word) >= dropout, 1.0 / (1.0 - dropout), 0.0)


@triton.jit
def _forward_kernel(
    x,
    weight,
    bias,
    mask,
    seed,
    y,
    rows,
    tokens,
    dim,
    eps,
    dropout,
    weighted: tl.constexpr,
    biased: tl.constexpr,
    masked: tl.constexpr,
    drops: tl.constexpr,
    norm: tl.constexpr,
    activation: tl.constexpr,
    padded_dim: tl.constexpr,
    tile: tl.constexpr,
):
    # In 64 bits: a batch may have more than 2 ** 31 elements.
    row = tl.program_id(0).to(tl.int64) * tile + tl.arange(0, tile)
    column = tl.arange(0, padded_dim)
    row_inside, column_inside = row < rows, column < dim
    inside = row_inside[:, None] & column_inside[None, :]
    valid = row_inside
    if masked:
        valid = tl.load(mask + row, mask=row_inside, other=0) != 0
    at = row[:, None] * dim + column[None, :]
    values = tl.load(x + at, mask=valid[:, None] & column_inside[None, :], other=0.0).to(tl.float32)
    z, _ = _normal(values, column_inside, dim, eps, norm)
    if weighted:
        z *= _affine(weight, row, row_inside, tokens, column, column_inside, norm, 1.0)
    if biased:
        z += _affine(bias, row, row_inside, tokens, column, column_inside, norm, 0.0)
    result = _activated(z, activation)
    if drops:
        result *= _kept(seed, row, column, dropout)
    result = tl.where(valid[:, None], result, 0.0)
    tl.store(y + at, result.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _gradient_kernel(
    x,
    weight,
    bias,
    mask,
    seed,
    gradient,
    x_gradient,
    sums,
    rows,
    tokens,
    dim,
    eps,
    dropout,
    weighted: tl.constexpr,
    biased: tl.constexpr,
    masked: tl.constexpr,
    drops: tl.constexpr,
    norm: tl.constexpr,
    activation: tl.constexpr,
    padded_dim: tl.constexpr,
    tile: tl.constexpr,
):
    part = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, padded_dim)
    column_inside = column < dim
    weight_sum = tl.zeros((padded_dim,), tl.float32)
    bias_sum = tl.zeros((padded_dim,), tl.float32)
    tiles_each = tl.cdiv(tl.cdiv(rows, tile), tl.num_programs(0))
    for number_of_tile in range(part * tiles_each, (part + 1) * tiles_each):
        row = number_of_tile * tile + tl.arange(0, tile)
        row_inside = row < rows
        valid = row_inside
        if masked:
            valid = tl.load(mask + row, mask=row_inside, other=0) != 0
        at = row[:, None] * dim + column[None, :]
        both = valid[:, None] & column_inside[None, :]
        values = tl.load(x + at, mask=both, other=0.0).to(tl.float32)
        descent = tl.load(gradient + at, mask=both, other=0.0).to(tl.float32)
        normal, inverse = _normal(values, column_inside, dim, eps, norm)
        z = normal
        if weighted:
            z *= _affine(weight, row, row_inside, tokens, column, column_inside, norm, 1.0)
        if biased:
            z += _affine(bias, row, row_inside, tokens, column, column_inside, norm, 0.0)
        descent *= _slope(z, activation)
        if drops:
            descent *= _kept(seed, row, column, dropout)
        if norm == "position":
            tl.store(sums + row, tl.sum(descent * normal, axis=1), mask=row_inside)
            tl.store(sums + rows.to(tl.int64) + row, tl.sum(descent, axis=1), mask=row_inside)
        else:
            weight_sum += tl.sum(descent * normal, axis=0)
            bias_sum += tl.sum(descent, axis=0)
        if weighted:
            descent *= _affine(weight, row, row_inside, tokens, column, column_inside, norm, 1.0)
        if norm == "layer":
            mean = tl.sum(descent, axis=1) / dim
            along = tl.sum(descent * normal, axis=1) / dim
            descent = inverse[:, None] * (descent - mean[:, None] - normal * along[:, None])
            # Of a token in padding the reciprocal deviation is large, and what it multiplies is zero.
        tl.store(
            x_gradient + at,
            descent.to(x_gradient.dtype.element_ty),
            mask=row_inside[:, None] & column_inside[None, :],
        )
    if norm != "position":
        tl.store(sums + part * dim + column, weight_sum, mask=column_inside)
        tl.store(sums + (tl.num_programs(0).to(tl.int64) + part) * dim + column, bias_sum, mask=column_inside)
