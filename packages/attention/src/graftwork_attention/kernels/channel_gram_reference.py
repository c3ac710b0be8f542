"""Inner products of every channel of the queries with the chosen channels of the keys, in plain torch.

Source: S3Attention, arXiv:2408.08567: per head G = scale Q^T K[:, chosen], summed over the valid tokens, in
float32 (float64 for float64 queries).
"""

from __future__ import annotations

import torch
from torch import Tensor

from graftwork_attention.kernels.skeleton_reference import arithmetic_dtype


def channel_gram(q: Tensor, k: Tensor, mask: Tensor | None, scale: float | Tensor) -> Tensor:
    """Return G ``[batch, heads, width, channels]``; arguments as in :func:`~.channel_gram.channel_gram`."""
    dtype = arithmetic_dtype(q)
    if mask is not None:
        k = k.masked_fill(~mask[:, :, None, None], 0.0)
    gram = torch.matmul(q.to(dtype).permute(0, 2, 3, 1), k.to(dtype).transpose(1, 2))
    if isinstance(scale, Tensor):
        return gram * scale.to(dtype)[:, None, None, None]
    return gram * scale


def forward(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    """Return G in float32, not scaled."""
    return channel_gram(q, k, mask, 1.0).float()


def backward(gradient: Tensor, q: Tensor, k: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the gradients of q and k from that of what :func:`forward` returned."""
    with torch.enable_grad():
        leaves = [tensor.detach().requires_grad_() for tensor in (q, k)]
        gram = forward(leaves[0], leaves[1], mask)
    q_gradient, k_gradient = torch.autograd.grad(gram, leaves, gradient)
    return q_gradient.contiguous(), k_gradient.contiguous()
