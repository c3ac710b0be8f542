"""Inner products of query channels with chosen key channels: the operation, and which implementation runs where."""

from __future__ import annotations

from torch import Tensor

from graftwork_attention.kernels import channel_gram_reference


def channel_gram(q: Tensor, k: Tensor, mask: Tensor | None, scale: float | Tensor) -> Tensor:
    """Return ``scale Q^T K`` of every head, summed over the valid tokens, in float32.

    Args:
        q: ``[batch, tokens, heads, width]``.
        k: the chosen channels of the keys, ``[batch, tokens, heads, channels]``.
        mask: which tokens are no padding, bool ``[batch, tokens]``; all if None.
        scale: a number, or one a sample, ``[batch]``.
    """
    return channel_gram_reference.channel_gram(q, k, mask, scale)
