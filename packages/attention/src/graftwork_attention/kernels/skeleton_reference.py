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
    first = _half_layer_norm(by_token, weight1, bias1, eps)
    second = _half_layer_norm(by_channel, weight2, bias2, eps)
    return (first + second).to(q.dtype)


def _half_layer_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    # The half goes to the weights: over the tokens it would be one more pass, and two backward.
    if weight is None:
        return 0.5 * layer_norm(x, None, bias, eps)
    return layer_norm(x, 0.5 * weight, None if bias is None else 0.5 * bias, eps)


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
    """Return Y and, ``[4, batch, tokens]``, mean and reciprocal deviation of both branches."""
    by_token = token_branch(q, key_tokens, value_tokens, token_valid, scale)
    statistics = []
    for branch in (by_token, channel_branch(value_channels, channel_weights)):
        variance, mean = torch.var_mean(branch.to(arithmetic_dtype(q)), dim=-1, correction=0)
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
    scale: float,
) -> tuple[Tensor, ...]:
    """Return the gradients of q, key_tokens, value_tokens, value_channels, channel_weights, weight1, weight2
    and of either bias, written out: where torch runs a registered operation there is no autograd.
    """
    dtype, heads = arithmetic_dtype(q), q.shape[2]
    given = (q, key_tokens, value_tokens, value_channels, channel_weights)
    q, key_tokens, value_tokens, value_channels, channel_weights = (tensor.to(dtype) for tensor in given)
    q, value_channels = q.transpose(1, 2), value_channels.transpose(1, 2)
    if token_valid is not None:
        padding = ~token_valid[:, None, :, None]
        key_tokens, value_tokens = (x.masked_fill(padding, 0.0) for x in (key_tokens, value_tokens))
    scores = scale * q @ key_tokens.transpose(-1, -2)
    if token_valid is not None:
        scores = scores.masked_fill(~token_valid[:, None, None, :], torch.finfo(dtype).min)
    attention = scores.softmax(-1)
    half = 0.5 * gradient.to(dtype)
    mean1, inverse1, mean2, inverse2 = statistics[..., None]
    by_token = (attention @ value_tokens).transpose(1, 2).flatten(2)
    by_channel = (value_channels @ channel_weights.transpose(-1, -2)).transpose(1, 2).flatten(2)
    normal1, normal2 = (by_token - mean1) * inverse1, (by_channel - mean2) * inverse2
    by_head = (q.shape[0], q.shape[2], heads, q.shape[3])
    descent1 = through_norm(half * weight1, normal1, inverse1).view(by_head).transpose(1, 2)
    descent2 = through_norm(half * weight2, normal2, inverse2).view(by_head).transpose(1, 2)
    steps = descent1 @ value_tokens.transpose(-1, -2)
    steps = scale * attention * (steps - (attention * steps).sum(-1, keepdim=True))
    values_descent = attention.transpose(-1, -2) @ descent1
    if token_valid is not None:
        values_descent = values_descent.masked_fill(padding, 0.0)
    descents = (
        *((steps @ key_tokens).transpose(1, 2), steps.transpose(-1, -2) @ q, values_descent),
        *((descent2 @ channel_weights).transpose(1, 2), descent2.transpose(-1, -2) @ value_channels),
    )
    return (
        *(descent.to(x.dtype).contiguous() for descent, x in zip(descents, given, strict=True)),
        *((half * normal).sum((0, 1)) for normal in (normal1, normal2)),
        half.sum((0, 1)),
    )


def through_norm(gradient: Tensor, normal: Tensor, inverse: Tensor) -> Tensor:
    """Return the gradient before a LayerNorm.

    Args:
        gradient: of what it normalised, ``[..., channels]``.
        normal: what it normalised.
        inverse: reciprocal deviations, ``[..., 1]``.
    """
    along = (gradient * normal).mean(-1, keepdim=True)
    return inverse * (gradient - gradient.mean(-1, keepdim=True) - normal * along)


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
    attended = None
    if token_valid is not None:
        # What lies in padding may be anything, and NaN times a weight of zero is NaN.
        padding = ~token_valid[:, None, :, None]
        key_tokens = key_tokens.masked_fill(padding, 0.0)
        value_tokens = value_tokens.masked_fill(padding, 0.0)
        # A sample without any valid landmark attends to all of its values, which are zeros now: no row of
        # weights is empty, and no NaN arises.
        attended = (token_valid | ~token_valid.any(1, keepdim=True))[:, None, None, :]
    mixed = functional.scaled_dot_product_attention(
        *(q.transpose(1, 2), key_tokens.to(q.dtype), value_tokens.to(q.dtype), attended, dropout), scale=scale
    )
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
