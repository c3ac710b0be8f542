"""What follows the convolution of the stem, in plain torch: normalise, activate, drop, zero the padding.

Source: S3Attention, arXiv:2408.08567, the listing of the smoother; which normalisation is a choice of the
caller. The arithmetic is float32, float64 for float64 inputs, and the result is rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from graftwork_attention.kernels.skeleton_reference import arithmetic_dtype, through_norm

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
    return (y if seed is None else y * _kept(x, seed, dropout)).contiguous()


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
    """Return the gradients of x, weight and bias, written out; the last two in the arithmetic's dtype."""
    dtype = arithmetic_dtype(x)
    descent, normal = gradient.to(dtype), x.to(dtype)
    if mask is not None:
        descent = descent.masked_fill(~mask[:, :, None], 0.0)
    if seed is not None:
        descent = descent * _kept(x, seed, dropout)
    if norm == "layer":
        variance, mean = torch.var_mean(normal, dim=-1, correction=0, keepdim=True)
        inverse = (variance + eps).rsqrt()
        normal = (normal - mean) * inverse
    along = (slice(None), None) if norm == "position" else (slice(None),)
    weight, bias = (None if affine is None else affine.to(dtype)[along] for affine in (weight, bias))
    z = normal if weight is None else normal * weight
    descent = descent * _SLOPES[activation](z if bias is None else z + bias)
    over = (0, 2) if norm == "position" else (0, 1)
    of_weight, of_bias = (descent * normal).sum(over), descent.sum(over)
    descent = descent if weight is None else descent * weight
    if norm == "layer":
        descent = through_norm(descent, normal, inverse)
    return descent.to(x.dtype).contiguous(), of_weight, of_bias


def _gelu_slope(z: Tensor) -> Tensor:
    slope: Tensor = torch.special.ndtr(z) + z * torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    return slope


_SLOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": lambda z: (z > 0).to(z.dtype),
    "elu": lambda z: z.clamp(max=0.0).exp(),
    "gelu": _gelu_slope,
}


def _kept(x: Tensor, seed: Tensor, dropout: float) -> Tensor:
    """Return the factors of dropout: 0, or what makes up for the zeros."""
    generator = torch.Generator(x.device).manual_seed(int(seed))
    kept = torch.rand(x.shape, generator=generator, device=x.device) >= dropout
    return kept.to(x.dtype) / (1.0 - dropout)
