"""What follows the convolution of the stem, in plain torch: normalise, activate, drop, zero the padding.

Source: S3Attention, arXiv:2408.08567, the listing of the smoother; which normalisation is a choice of the
caller. The arithmetic is float32, float64 for float64 inputs, and the result is rounded once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from graftwork_attention.kernels.skeleton_reference import arithmetic_dtype

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "elu": functional.elu,
    "gelu": functional.gelu,
}


def stem_epilogue(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mask: Tensor | None,
    *,
    norm: str,
    activation: str,
    eps: float,
    dropout: float,
) -> Tensor:
    """Return ``[batch, tokens, dim]``; arguments as in :func:`~.stem_epilogue.stem_epilogue`."""
    dtype = arithmetic_dtype(x)
    weight, bias = (None if affine is None else affine.to(dtype) for affine in (weight, bias))
    if norm == "layer":
        normal = functional.layer_norm(x.to(dtype), x.shape[-1:], weight, bias, eps)
    else:
        normal = x.to(dtype)
        for affine, apply in ((weight, Tensor.mul), (bias, Tensor.add)):
            if affine is not None:
                normal = apply(normal, affine[:, None] if norm == "position" else affine)
    y = ACTIVATIONS[activation](normal)
    if dropout:
        y = functional.dropout(y, dropout)
    if mask is not None:
        y = y.masked_fill(~mask[:, :, None], 0.0)
    return y.to(x.dtype)


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
    """Return what :func:`stem_epilogue` does; what is dropped depends on the seed."""
    y = stem_epilogue(x, weight, bias, mask, norm=norm, activation=activation, eps=eps, dropout=0.0)
    if seed is not None:
        generator = torch.Generator(x.device).manual_seed(int(seed))
        kept = torch.rand(x.shape, generator=generator, device=x.device) >= dropout
        y = y * kept / (1.0 - dropout)
    return y.contiguous()


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
    length = x.shape[1 if norm == "position" else 2]
    filled = (
        torch.full((length,), default, device=x.device) if affine is None else affine
        for affine, default in ((weight, 1.0), (bias, 0.0))
    )
    with torch.enable_grad():
        leaves = [tensor.detach().requires_grad_() for tensor in (x, *filled)]
        x, weight, bias = leaves
        y = forward(x, weight, bias, mask, seed, norm, activation, eps, dropout)
    of_x, of_weight, of_bias = torch.autograd.grad(y, leaves, gradient)
    return of_x.contiguous(), of_weight.float(), of_bias.float()
