"""Token branch, channel branch and their normalised mean: the operation, and what runs where.

What it computes stands in :mod:`graftwork_attention.kernels.skeleton_reference`. On a CUDA device with triton
installed the kernels of :mod:`graftwork_attention.kernels.skeleton_triton` run, for float32, float16 and
bfloat16 and heads that they have room for: they read queries and value channels once, write Y once, and save
for backward what they were given and four numbers a token. Elsewhere the plain torch of the reference runs,
which a compiler sees through and fuses; and with dropout, which the kernels do not know.

The operation is registered as ``graftwork_attention::skeleton_attention``, so that autograd, torch.compile
and torch.export know it. Gradients of gradients are the reference's alone.

Raises ValueError where arguments do not fit together.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graftwork_attention.kernels import launching, skeleton_reference
from graftwork_attention.kernels.launching import runs_kernels

# Wider ones do not fit registers.
_WIDEST_HEADS = {torch.float32: 64, torch.float16: 128, torch.bfloat16: 128}
# CUDA's bound of a grid's second dimension.
_MOST_SAMPLES = 65535

Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def skeleton_attention(
    q: Tensor,
    key_tokens: Tensor,
    value_tokens: Tensor,
    value_channels: Tensor,
    channel_weights: Tensor,
    token_valid: Tensor | None,
    weight1: Tensor | None,
    bias1: Tensor | None,
    weight2: Tensor | None,
    bias2: Tensor | None,
    eps: float,
    scale: float,
    dropout: float = 0.0,
) -> Tensor:
    """Return both branches of skeleton attention, each normalised over all heads, and averaged.

    Args:
        q: ``[batch, tokens, heads, width]``; its dtype is the result's, and that of the products.
        key_tokens: keys of the landmarks, ``[batch, heads, landmarks, width]``.
        value_tokens: their values, likewise.
        value_channels: the chosen channels of the values, ``[batch, tokens, heads, channels]``.
        channel_weights: how much of every chosen channel a channel has, ``[batch, heads, width, channels]``.
        token_valid: which landmarks are no padding, bool ``[batch, landmarks]``; all if None. What lies in
            the others does not matter. Without any the token branch is zero before its normalisation.
        weight1: of the token branch's normalisation, ``[heads * width]``; ones if None.
        bias1: likewise; zeros if None.
        weight2: of the channel branch's.
        bias2: likewise.
        eps: added to variances.
        scale: multiplies the scores of the landmarks.
        dropout: probability with which a landmark is dropped from a token's mean; 0 outside training.

    Returns:
        ``[batch, tokens, heads * width]``.

    Raises:
        ValueError: shapes do not fit together.

    >>> q, value_channels = torch.zeros(1, 5, 2, 4), torch.randn(1, 5, 2, 3)
    >>> key_tokens, channel_weights = torch.randn(1, 2, 3, 4), torch.full((1, 2, 4, 3), 1 / 3)
    >>> y = skeleton_attention(
    ...     *(q, key_tokens, key_tokens, value_channels, channel_weights),
    ...     *(None, None, None, None, None, 1e-5, 0.5),
    ... )
    >>> y.shape
    torch.Size([1, 5, 8])
    """
    given = (q, key_tokens, value_tokens, value_channels, channel_weights, token_valid)
    affine = (weight1, bias1, weight2, bias2)
    _check(*given, *affine)
    fits = runs_kernels(q) and q.shape[-1] <= _WIDEST_HEADS[q.dtype] and q.shape[0] <= _MOST_SAMPLES
    if dropout or not fits:
        return skeleton_reference.skeleton_attention(*given, *affine, eps, scale, dropout)
    q, *others = (tensor.to(q.dtype) for tensor in given[:5])
    whole = q.shape[2] * q.shape[3]
    ones, zeros = torch.ones(whole, device=q.device), torch.zeros(whole, device=q.device)
    filled = (
        default if weights is None else weights.float()
        for weights, default in zip(affine, (ones, zeros) * 2, strict=True)
    )
    y: Tensor = _skeleton_attention(q, *others, token_valid, *filled, eps, scale)[0]
    return y


def _check(
    q: Tensor,
    key_tokens: Tensor,
    value_tokens: Tensor,
    value_channels: Tensor,
    channel_weights: Tensor,
    token_valid: Tensor | None,
    *affine: Tensor | None,
) -> None:
    batch, tokens, heads, width = q.shape
    landmarks, channels = key_tokens.shape[2], value_channels.shape[3]
    shapes: list[tuple[str, Tensor | None, tuple[int, ...]]] = [
        ("key_tokens", key_tokens, (batch, heads, landmarks, width)),
        ("value_tokens", value_tokens, (batch, heads, landmarks, width)),
        ("value_channels", value_channels, (batch, tokens, heads, channels)),
        ("channel_weights", channel_weights, (batch, heads, width, channels)),
        ("token_valid", token_valid, (batch, landmarks)),
    ]
    names = ("weight1", "bias1", "weight2", "bias2")
    shapes += [(name, given, (heads * width,)) for name, given in zip(names, affine, strict=True)]
    for name, given, shape in shapes:
        if given is not None and given.shape != shape:
            raise ValueError(f"{name} must have shape {shape} here, got {tuple(given.shape)}")
    if token_valid is not None and token_valid.dtype != torch.bool:
        raise ValueError(f"token_valid must be bool, got {token_valid.dtype}")


@torch.library.custom_op("graftwork_attention::skeleton_attention", mutates_args=())
def _skeleton_attention(
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
    return _implementation(q).forward(  # type: ignore[no-any-return]
        *(q, key_tokens, value_tokens, value_channels, channel_weights, token_valid),
        *(weight1, bias1, weight2, bias2, eps, scale),
    )


@torch.library.custom_op("graftwork_attention::skeleton_attention_backward", mutates_args=())
def _skeleton_attention_backward(
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
) -> Gradients:
    return _implementation(q).backward(  # type: ignore[no-any-return]
        *(gradient, q, key_tokens, value_tokens, value_channels, channel_weights, token_valid),
        *(weight1, weight2, statistics, scale),
    )


def _implementation(q: Tensor) -> Any:
    if not launching.runs_kernels(q):
        return skeleton_reference
    # Not at the top: importing triton takes a second, and only this branch needs it.
    from graftwork_attention.kernels import skeleton_triton

    return skeleton_triton


@_skeleton_attention.register_fake
def _(q: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    batch, tokens, heads, width = q.shape
    arithmetic = skeleton_reference.arithmetic_dtype(q)
    return q.new_empty(batch, tokens, heads * width), q.new_empty(4, batch, tokens, dtype=arithmetic)


@_skeleton_attention_backward.register_fake
def _(
    gradient: Tensor,
    q: Tensor,
    key_tokens: Tensor,
    value_tokens: Tensor,
    value_channels: Tensor,
    channel_weights: Tensor,
    token_valid: Tensor | None,
    weight1: Tensor,
    weight2: Tensor,
    *_: Any,
) -> Gradients:
    like = (q, key_tokens, value_tokens, value_channels, channel_weights)
    arithmetic = skeleton_reference.arithmetic_dtype(q)
    sums = (q.new_empty(q.shape[2] * q.shape[3], dtype=arithmetic) for _ in range(3))
    return *(given.new_empty(given.shape) for given in like), *sums  # type: ignore[return-value]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, weight1, _, weight2, _, _, scale = inputs
    ctx.save_for_backward(*tensors, weight1, weight2, output[1])
    ctx.scale = scale


def _backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Any, ...]:
    *of_inputs, weight1, weight2, bias = _skeleton_attention_backward(gradient, *ctx.saved_tensors, ctx.scale)
    return *of_inputs, None, weight1, bias, weight2, bias, None, None


_skeleton_attention.register_autograd(_backward, setup_context=_keep)
