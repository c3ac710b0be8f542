"""Muon's orthogonalization of an update, and the factor that makes up for the weight's shape.

Newton-Schulz, as in Jordan et al., Muon (2024), https://kellerjordan.github.io/posts/muon: after
``X = M / max(|M|, eps)`` (Frobenius norm), each step is

    A = X X^T,        X <- a X + (b A + c A A) X,

which moves every singular value towards 1 and leaves the singular vectors. With the published coefficients
the values do not converge: after five steps those that start above 0.002 are between 0.68 and 1.21.

The constants and the order of operations are those of ``torch.optim.Muon``, so that in bfloat16 the result
has its bits. The shape factors are from there too: ``original`` is Jordan's, ``match_rms_adamw`` that of Liu
et al., Muon is Scalable for LLM Training, arXiv:2502.16982.

Shapes: ``[rows, columns]``. Raises ValueError where an option is out of its range.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""a, b and c of the quintic with the steepest slope at zero, Jordan et al."""

EPS = 1e-7
"""Least norm to divide by."""

ShapeRule = Literal["original", "match_rms_adamw"]


def newton_schulz(
    matrix: Tensor,
    steps: int = 5,
    coefficients: tuple[float, float, float] = COEFFICIENTS,
    eps: float = EPS,
    dtype: torch.dtype = torch.bfloat16,
) -> Tensor:
    """Return nearly ``U V^T`` for a matrix ``U S V^T``; zero for a zero matrix.

    Args:
        matrix: ``[rows, columns]``; left alone.
        steps: 0 or more.
        coefficients: a, b and c, see above.
        eps: least norm to divide by, greater than 0.
        dtype: of the iteration and of the result: bfloat16, float32 or float64. In float32 the products
            follow the user's ``torch.set_float32_matmul_precision``.

    Returns:
        ``[rows, columns]``; of a tall matrix a transposed view.

    >>> newton_schulz(torch.diag(torch.tensor([3.0, 4.0])), dtype=torch.float32).round(decimals=2)
    tensor([[0.7200, 0.0000],
            [0.0000, 1.1200]])
    """
    if matrix.ndim != 2:
        raise ValueError(f"matrix must have 2 dimensions, got shape {tuple(matrix.shape)}")
    if steps < 0:
        raise ValueError(f"steps must be 0 or more, got {steps}")
    if eps <= 0:
        raise ValueError(f"eps must be greater than 0, got {eps}")
    a, b, c = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    wide = matrix.to(dtype, copy=True)
    if tall:
        wide = wide.mT
    wide.div_(torch.linalg.vector_norm(wide).clamp_(min=eps))
    for _ in range(steps):
        gram = wide @ wide.mT
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.mT if tall else wide


def shape_adjustment(rule: ShapeRule, shape: tuple[int, ...]) -> float:
    """Return by what to multiply the rate of an orthogonalized update.

    Args:
        rule: ``"original"``, ``sqrt(max(1, rows / columns))``, or ``"match_rms_adamw"``,
            ``0.2 sqrt(max(rows, columns))``, with which rates found for AdamW can be kept.
        shape: ``(rows, columns)``.

    >>> shape_adjustment("original", (16, 4)), shape_adjustment("match_rms_adamw", (16, 100))
    (2.0, 2.0)
    """
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"shape must be two positive numbers, got {tuple(shape)}")
    rows, columns = shape
    if rule == "original":
        return math.sqrt(max(1, rows / columns))
    if rule == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    raise ValueError(f"rule must be 'original' or 'match_rms_adamw', got {rule!r}")
