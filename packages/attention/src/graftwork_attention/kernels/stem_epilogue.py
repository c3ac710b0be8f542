"""What follows the convolution of the stem, from norm to dropout: the operation, and what runs where.

What it computes stands in :mod:`graftwork_attention.kernels.stem_epilogue_reference`. On a CUDA device with
triton installed the kernels of :mod:`graftwork_attention.kernels.stem_epilogue_triton` run, for float32,
float16 and bfloat16 and up to 4,096 channels; elsewhere the reference. Which numbers are dropped differs
between the two; torch's generators decide it for both.

The operation is registered as ``graftwork_attention::stem_epilogue``, so that autograd, torch.compile and
torch.export know it.

Raises ValueError where arguments do not fit together.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from graftwork_attention.kernels import launching, stem_epilogue_reference
from graftwork_attention.kernels.launching import runs_kernels
from graftwork_attention.kernels.skeleton_reference import arithmetic_dtype

Norm = Literal["layer", "position", "channel"]
Activation = Literal["relu", "elu", "gelu"]

_WIDEST_TOKEN = 4096


def stem_epilogue(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mask: Tensor | None,
    *,
    norm: Norm = "layer",
    activation: Activation = "relu",
    eps: float = 1e-5,
    dropout: float = 0.0,
) -> Tensor:
    """Return ``dropout(activation(norm(x)))``, zero in padding.

    Args:
        x: ``[batch, tokens, dim]``; finite also in padding.
        weight: ``[tokens]`` for the norm ``position``, else ``[dim]``; ones if None.
        bias: likewise; zeros if None.
        mask: which tokens are no padding, bool ``[batch, tokens]``; all if None.
        norm: ``layer`` normalises every token over its channels; ``position`` and ``channel`` apply weight
            and bias as they are, to tokens or to channels (a batch normalisation has its statistics in them).
        activation: after the normalisation.
        eps: added to the variance of ``layer``.
        dropout: probability with which a number is dropped; 0 outside training.

    Returns:
        ``[batch, tokens, dim]`` of the dtype of ``x``.

    Raises:
        ValueError: shapes do not fit together.

    >>> x, mask = torch.tensor([[[-1.0, 1.0], [5.0, 9.0]]]), torch.tensor([[True, False]])
    >>> stem_epilogue(x, None, None, mask, eps=0.0).tolist()
    [[[0.0, 1.0], [0.0, 0.0]]]
    """
    shape = (x.shape[1 if norm == "position" else 2],)
    for name, affine in (("weight", weight), ("bias", bias)):
        if affine is not None and affine.shape != shape:
            raise ValueError(f"{name} must have shape {shape} here, got {tuple(affine.shape)}")
    if mask is not None and (mask.shape != x.shape[:2] or mask.dtype != torch.bool):
        raise ValueError(f"mask must be bool {tuple(x.shape[:2])} here, got {mask.dtype} {tuple(mask.shape)}")
    if not runs_kernels(x) or x.shape[-1] > _WIDEST_TOKEN:
        return stem_epilogue_reference.stem_epilogue(
            *(x, weight, bias, mask), norm=norm, activation=activation, eps=eps, dropout=dropout
        )
    seed = torch.randint(2**62, (1,), device=x.device) if dropout else None
    weight, bias = (None if affine is None else affine.float() for affine in (weight, bias))
    y: Tensor = _stem_epilogue(x, weight, bias, mask, seed, norm, activation, eps, dropout)
    return y


@torch.library.custom_op("graftwork_attention::stem_epilogue", mutates_args=())
def _stem_epilogue(
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
    return _implementation(x).forward(  # type: ignore[no-any-return]
        x, weight, bias, mask, seed, norm, activation, eps, dropout
    )


@torch.library.custom_op("graftwork_attention::stem_epilogue_backward", mutates_args=())
def _stem_epilogue_backward(
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
    return _implementation(x).backward(  # type: ignore[no-any-return]
        gradient, x, weight, bias, mask, seed, norm, activation, eps, dropout
    )


def _implementation(x: Tensor) -> Any:
    if not launching.runs_kernels(x):
        return stem_epilogue_reference
    # Not at the top: importing triton takes a second, and only this branch needs it.
    from graftwork_attention.kernels import stem_epilogue_triton

    return stem_epilogue_triton


@_stem_epilogue.register_fake
def _(x: Tensor, *_: Any) -> Tensor:
    return x.new_empty(x.shape)


@_stem_epilogue_backward.register_fake
def _(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mask: Tensor | None,
    seed: Tensor | None,
    norm: str,
    *_: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    length, arithmetic = x.shape[1 if norm == "position" else 2], arithmetic_dtype(x)
    weight_gradient, bias_gradient = (x.new_empty(length, dtype=arithmetic) for _ in range(2))
    return x.new_empty(x.shape), weight_gradient, bias_gradient


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:5])
    ctx.options = inputs[5:]


def _backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    x, weight, bias = _stem_epilogue_backward(gradient, *ctx.saved_tensors, *ctx.options)
    of_weight, of_bias = ctx.needs_input_grad[1:3]
    return x, weight if of_weight else None, bias if of_bias else None, *[None] * 6


_stem_epilogue.register_autograd(_backward, setup_context=_keep)
