"""Inner products of query channels with chosen key channels: the operation, and what runs where.

What it computes stands in :mod:`graftwork_attention.kernels.channel_gram_reference`. On a CUDA device with
triton installed the kernels of :mod:`graftwork_attention.kernels.channel_gram_triton` run, for float32,
float16 and bfloat16, with float32 sums cut into parts over the tokens; elsewhere the reference.

The operation is registered as ``graftwork_attention::channel_gram``, so that autograd, torch.compile and
torch.export know it.

Raises ValueError where arguments do not fit together.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graftwork_attention.kernels import channel_gram_reference, launching
from graftwork_attention.kernels.launching import runs_kernels
from graftwork_attention.kernels.skeleton_reference import arithmetic_dtype

_WIDEST_HEAD = 128


def channel_gram(q: Tensor, k: Tensor, mask: Tensor | None, scale: float | Tensor) -> Tensor:
    """Return ``scale Q^T K`` of every head, summed over the valid tokens.

    Args:
        q: ``[batch, tokens, heads, width]``; finite also in padding.
        k: the chosen channels of the keys, ``[batch, tokens, heads, channels]``.
        mask: which tokens are no padding, bool ``[batch, tokens]``; all if None.
        scale: a number, or one a sample, ``[batch]``.

    Returns:
        ``[batch, heads, width, channels]``, float64 for float64 queries, else float32.

    Raises:
        ValueError: shapes do not fit together.

    >>> q = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 2, 1, 2)
    >>> channel_gram(q, q[..., :1], torch.tensor([[True, False]]), 0.5).flatten().tolist()
    [0.5, 1.0]
    """
    if k.shape[:-1] != q.shape[:-1]:
        raise ValueError(f"k must have shape {(*q.shape[:-1], 'channels')} here, got {tuple(k.shape)}")
    if mask is not None and (mask.shape != q.shape[:2] or mask.dtype != torch.bool):
        raise ValueError(f"mask must be bool {tuple(q.shape[:2])} here, got {mask.dtype} {tuple(mask.shape)}")
    if not runs_kernels(q) or q.shape[-1] > _WIDEST_HEAD:
        return channel_gram_reference.channel_gram(q, k, mask, scale)
    factor = scale[:, None, None, None] if isinstance(scale, Tensor) else scale
    gram: Tensor = factor * _channel_gram(q, k.to(q.dtype), mask)
    return gram


@torch.library.custom_op("graftwork_attention::channel_gram", mutates_args=())
def _channel_gram(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    return _implementation(q).forward(q, k, mask)  # type: ignore[no-any-return]


@torch.library.custom_op("graftwork_attention::channel_gram_backward", mutates_args=())
def _channel_gram_backward(
    gradient: Tensor, q: Tensor, k: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    return _implementation(q).backward(gradient, q, k, mask)  # type: ignore[no-any-return]


def _implementation(q: Tensor) -> Any:
    if not launching.runs_kernels(q):
        return channel_gram_reference
    # Not at the top: importing triton takes a second, and only this branch needs it.
    from graftwork_attention.kernels import channel_gram_triton

    return channel_gram_triton


@_channel_gram.register_fake
def _(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    batch, _, heads, width = q.shape
    arithmetic = arithmetic_dtype(q)
    return q.new_empty(batch, heads, width, k.shape[3], dtype=arithmetic)


@_channel_gram_backward.register_fake
def _(gradient: Tensor, q: Tensor, k: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    return *_channel_gram_backward(gradient, *ctx.saved_tensors), None


_channel_gram.register_autograd(_backward, setup_context=_keep)
