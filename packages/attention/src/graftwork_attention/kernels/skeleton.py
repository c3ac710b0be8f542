"""Token branch, channel branch and their normalised mean: the operation, and which implementation runs where."""

from __future__ import annotations

from torch import Tensor

from graftwork_attention.kernels import skeleton_reference


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
    """Return both branches of skeleton attention, normalised and averaged."""
    return skeleton_reference.skeleton_attention(
        *(q, key_tokens, value_tokens, value_channels, channel_weights, token_valid),
        *(weight1, bias1, weight2, bias2, eps, scale, dropout),
    )
