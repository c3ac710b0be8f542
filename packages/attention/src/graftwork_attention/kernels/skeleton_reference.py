"""Token branch, channel branch and their normalised mean in plain torch; traced, it is what a compiler fuses.

Source: S3Attention, arXiv:2408.08567, the listing of skeleton attention. Per head, with the landmarks'
keys and values K, V ``[landmarks, width]``, the chosen channels of the values C ``[tokens, channels]`` and
the channel weights W ``[width, channels]``, whose rows sum to one:

    token branch    Y1 = softmax(scale Q K^T) V
    channel branch  Y2 = C W^T
    heads side by side:  Y = LayerNorm1(Y1) / 2 + LayerNorm2(Y2) / 2

Softmax and LayerNorm are float32, float64 for float64 queries; products are of the queries' dtype.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


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
    """Return Y ``[batch, tokens, heads * width]``; arguments as in :func:`~.skeleton.skeleton_attention`."""
    by_token = token_branch(q, key_tokens, value_tokens, token_valid, scale, dropout)
    by_channel = channel_branch(value_channels, channel_weights)
    first = layer_norm(by_token, weight1, bias1, eps)
    second = layer_norm(by_channel, weight2, bias2, eps)
    return (0.5 * first + 0.5 * second).to(q.dtype)


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
    by_token = token_branch(q, key_tokens, value_tokens, token_valid, scale)
    statistics = []
    for branch in (by_token, channel_branch(value_channels, channel_weights)):
        variance, mean = torch.var_mean(branch.float(), dim=-1, correction=0)
        statistics += [mean, (variance + eps).rsqrt()]
    y = skeleton_attention(
        *(q, key_tokens, value_tokens, value_channels, channel_weights, token_valid),
        *(weight1, bias1, weight2, bias2, eps, scale),
    )
    return y, torch.stack(statistics)


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
    eps: float,
    scale: float,
) -> tuple[Tensor, ...]:
    """Return the gradients of q, key_tokens, value_tokens, value_channels, channel_weights, weight1, weight2
    and of either bias.
    """
    bias = torch.zeros_like(weight1)
    given = (q, key_tokens, value_tokens, value_channels, channel_weights, weight1, weight2, bias)
    with torch.enable_grad():
        leaves = [tensor.detach().requires_grad_() for tensor in given]
        q, key_tokens, value_tokens, value_channels, channel_weights, weight1, weight2, bias = leaves
        y = skeleton_attention(
            *(q, key_tokens, value_tokens, value_channels, channel_weights, token_valid),
            *(weight1, bias, weight2, bias.detach(), eps, scale),
        )
    *gradients, first, second, both = torch.autograd.grad(y, leaves, gradient)
    gradients = [gradient.contiguous() for gradient in gradients]
    return *gradients, first.float(), second.float(), both.float()


def token_branch(
    q: Tensor,
    key_tokens: Tensor,
    value_tokens: Tensor,
    token_valid: Tensor | None,
    scale: float,
    dropout: float = 0.0,
) -> Tensor:
    """Return Y1 ``[batch, tokens, heads * width]``; zeros where a sample has no valid landmark.

    Args:
        q: ``[batch, tokens, heads, width]``.
        key_tokens: ``[batch, heads, landmarks, width]``.
        value_tokens: likewise.
        token_valid: which landmarks are no padding, bool ``[batch, landmarks]``; all if None.
        scale: multiplies the scores.
        dropout: probability with which an attention weight is dropped.
    """
    if token_valid is not None:
        # What lies in padding may be anything, and NaN times a weight of zero is NaN.
        padding = ~token_valid[:, None, :, None]
        key_tokens = key_tokens.masked_fill(padding, 0.0)
        value_tokens = value_tokens.masked_fill(padding, 0.0)
    scores = torch.matmul(q.transpose(1, 2) * scale, key_tokens.transpose(-1, -2).to(q.dtype))
    if token_valid is not None:
        # The least number instead of minus infinity: without any valid landmark no NaN arises.
        scores = scores.masked_fill(~token_valid[:, None, None, :], torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, dim=-1, dtype=arithmetic_dtype(q))
    if token_valid is not None:
        weights = weights.masked_fill(~token_valid[:, None, None, :], 0.0)
    if dropout:
        weights = functional.dropout(weights, dropout)
    mixed = torch.matmul(weights.to(q.dtype), value_tokens.to(q.dtype))
    return mixed.transpose(1, 2).flatten(2)


def channel_branch(value_channels: Tensor, channel_weights: Tensor) -> Tensor:
    """Return Y2 ``[batch, tokens, heads * width]``.

    Args:
        value_channels: ``[batch, tokens, heads, channels]``.
        channel_weights: ``[batch, heads, width, channels]``.
    """
    weights = channel_weights.to(value_channels.dtype)
    return torch.matmul(value_channels.transpose(1, 2), weights.transpose(-1, -2)).transpose(1, 2).flatten(2)


def layer_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Normalise over the last dimension; return the arithmetic's dtype, not that of ``x``."""
    dtype = arithmetic_dtype(x)
    weight, bias = (None if affine is None else affine.to(dtype) for affine in (weight, bias))
    return functional.layer_norm(x.to(dtype), x.shape[-1:], weight, bias, eps)


def arithmetic_dtype(x: Tensor) -> torch.dtype:
    """Return float64 for float64 tensors, float32 for others."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32
