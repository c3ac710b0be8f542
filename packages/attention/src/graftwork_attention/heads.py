"""Between ``[batch, tokens, dim]`` and heads."""

from __future__ import annotations

import torch
from torch import Tensor


def split_heads(x: Tensor, heads: int) -> Tensor:
    """``[batch, tokens, heads * width]`` as ``[batch, heads, tokens, width]``, a view."""
    return torch.unflatten(x, -1, (heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """``[batch, heads, tokens, width]`` as ``[batch, tokens, heads * width]``: undoes :func:`split_heads`."""
    return x.transpose(1, 2).flatten(2)


def check_heads(dim: int, heads: int) -> None:
    """Refuse a width that does not divide into heads.

    Raises:
        ValueError: with the numbers of heads that would do.

    >>> check_heads(12, 5)
    Traceback (most recent call last):
    ValueError: heads must divide dim=12, got 5; 4 and 6 would do
    """
    if dim < 1:
        raise ValueError(f"dim must be at least 1, got {dim}")
    if heads < 1 or dim % heads:
        raise ValueError(f"heads must divide dim={dim}, got {heads}; {fitting(dim, heads)} would do")


def fitting(whole: int, wanted: int) -> str:
    """The divisors of a number next to one that was asked for, in words.

    >>> fitting(64, 7), fitting(64, 100)
    ('4 and 8', '64')
    """
    divisors = [number for number in range(1, whole + 1) if whole % number == 0]
    below = [number for number in divisors if number < wanted][-1:]
    above = [number for number in divisors if number > wanted][:1]
    return " and ".join(str(number) for number in [*below, *above])
