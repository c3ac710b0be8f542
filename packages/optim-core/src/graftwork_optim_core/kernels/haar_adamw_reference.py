"""One step of GWT-AdamW for one weight in plain torch, every block of columns written out.

Source: Gradient Wavelet Transform, arXiv:2501.07237, in the closed form of the Haar basis (see
:mod:`graftwork_optim_core.wavelet.transform`). With B = 2^level columns a block, c = 2^(-level/2), S the
sum of the gradient G over a block, and the step's factors r_m and r_d (bias corrections), rate and kept:

    A = c S,    m <- b1 m + (1 - b1) A,    v <- b2 v + (1 - b2) A A,    d = sqrt(v) + eps
    U = clip(r_d (G - c A) / d, -3, 3) + r_m r_d c m / d       with the guard
    U = r_m r_d (G + c (m - A)) / d                            without it
    W <- (W - rate U) kept                                     rounded to the weight's dtype once

The step takes the divisor q of the growth limiter for 1. Where q turns out to be larger, the correction
adds what was taken too much: ``W <- W + kept rate (1 - 1/q) U``.

Shapes: values and gradient ``[rows, width]``, averages ``[rows, blocks]``, ``blocks = ceil(width / B)``;
the last block of a row may be short, its divisor stays B. Nothing is read back to the host, nothing is
raised.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graftwork_optim_core.common.parameters import arithmetic_dtype
from graftwork_optim_core.numerics.haar import DETAIL_BOUND


def haar_adamw_step(
    values: Tensor,
    gradient: Tensor,
    mean: Tensor,
    mean_square: Tensor,
    factors: Tensor,
    *,
    level: int,
    guard: bool,
    beta1: float,
    beta2: float,
    eps: float,
    maximize: bool,
) -> Tensor:
    """Update values and both averages in place; see :func:`~.haar_adamw.haar_adamw_step`."""
    arithmetic = arithmetic_dtype(values)
    _, _, rate, kept, gate = factors.unbind()
    opened = gate != 0
    blocks = _blocks_to_descend(gradient, arithmetic, level, maximize)
    coarse = _coarse(blocks, level)
    new_mean = torch.lerp(mean.to(arithmetic), coarse, 1 - beta1)
    new_mean_square = beta2 * mean_square.to(arithmetic) + (1 - beta2) * coarse.square()
    direction = new_mean / (new_mean_square.sqrt() + eps)
    _write(mean, new_mean, opened)
    _write(mean_square, new_mean_square, opened)
    update = _update(blocks, mean, mean_square, factors, values.shape[1], level, guard, eps)
    _write(values, (values.to(arithmetic) - rate * update) * kept, opened)
    return torch.where(opened, direction.square().sum(), 0.0)


def haar_adamw_correct(
    values: Tensor,
    gradient: Tensor,
    mean: Tensor,
    mean_square: Tensor,
    factors: Tensor,
    excess: Tensor,
    *,
    level: int,
    guard: bool,
    eps: float,
    maximize: bool,
) -> None:
    """Take back a share of the step in place; see :func:`~.haar_adamw.haar_adamw_correct`."""
    arithmetic = arithmetic_dtype(values)
    _, _, rate, kept, gate = factors.unbind()
    blocks = _blocks_to_descend(gradient, arithmetic, level, maximize)
    update = _update(blocks, mean, mean_square, factors, values.shape[1], level, guard, eps)
    corrected = values.to(arithmetic) + kept * rate * excess.to(arithmetic) * update
    _write(values, corrected, (gate != 0) & (excess != 0))


def finite_extent(gradient: Tensor, level: int) -> Tensor:
    """Return the squared norm of the coarse gradient; see :func:`~.haar_adamw.finite_extent`."""
    blocks = _blocks_to_descend(gradient, arithmetic_dtype(gradient), level, maximize=False)
    return _coarse(blocks, level).square().sum()


def _blocks_to_descend(gradient: Tensor, arithmetic: torch.dtype, level: int, maximize: bool) -> Tensor:
    """Return ``[rows, blocks, B]``: what to descend, with zeros after the end of a short block."""
    gradient = gradient.to(arithmetic)
    missing = -gradient.shape[1] % 2**level
    padded = torch.nn.functional.pad(-gradient if maximize else gradient, (0, missing))
    return padded.reshape(padded.shape[0], padded.shape[1] // 2**level, 2**level)


def _unit(level: int) -> float:
    return float(2.0 ** (-level / 2))


def _coarse(blocks: Tensor, level: int) -> Tensor:
    return blocks.sum(dim=-1) * _unit(level)


def _update(
    blocks: Tensor,
    mean: Tensor,
    mean_square: Tensor,
    factors: Tensor,
    width: int,
    level: int,
    guard: bool,
    eps: float,
) -> Tensor:
    """Return U ``[rows, width]``, from the averages as they are stored."""
    mean_correction, root_correction, *_ = factors.unbind()
    unit = _unit(level)
    inverse_root = root_correction / (mean_square.to(blocks.dtype).sqrt() + eps)
    block_mean = (unit * _coarse(blocks, level)).unsqueeze(-1)
    running_mean = (unit * mean.to(blocks.dtype)).unsqueeze(-1)
    inverse_root = inverse_root.unsqueeze(-1)
    details = (blocks - block_mean) * inverse_root
    details = details.clamp(-DETAIL_BOUND, DETAIL_BOUND) if guard else details * mean_correction
    return (details + mean_correction * running_mean * inverse_root).flatten(1)[:, :width]


def _write(target: Tensor, value: Tensor, opened: Tensor) -> None:
    target.copy_(torch.where(opened, value.to(target.dtype), target))
