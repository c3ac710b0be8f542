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
    # The product of the few channels with the many, turned: the other way round takes twice as long on a CPU.
    turned = torch.matmul(k.to(dtype).permute(0, 2, 3, 1), q.to(dtype).transpose(1, 2))
    gram = turned.transpose(2, 3)
    if isinstance(scale, Tensor):
        return gram * scale.to(dtype)[:, None, None, None]
    return gram * scale


def forward(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    """Return G, not scaled, contiguous."""
    return channel_gram(q, k, mask, 1.0).contiguous()


def backward(gradient: Tensor, q: Tensor, k: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the gradients of q and k from that of what :func:`forward` returned, written out."""
    dtype = arithmetic_dtype(q)
    of_q = torch.einsum("bhes,bnhs->bnhe", gradient.to(dtype), k.to(dtype))
    of_k = torch.einsum("bhes,bnhe->bnhs", gradient.to(dtype), q.to(dtype))
    if mask is not None:
        of_q, of_k = (x.masked_fill(~mask[:, :, None, None], 0.0) for x in (of_q, of_k))
    return of_q.to(q.dtype).contiguous(), of_k.to(k.dtype).contiguous()
