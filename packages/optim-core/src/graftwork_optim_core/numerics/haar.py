"""Block sums and block repeats: the two primitives to which the Haar basis collapses.

At level l the coarse Haar coefficients of a row are ``2 ** (-l / 2)`` times the sums over blocks of ``2 **
l`` neighbouring columns (the last block zero-padded), and whatever is constant within a block is spread back
by repeating.

Shapes: ``[rows, width]`` and ``[rows, blocks]`` with ``blocks = ceil(width / 2 ** level)``.
"""

from __future__ import annotations

import torch
from torch import Tensor

DETAIL_BOUND = 3.0
"""How many times its block's root the guard lets a detail be; normal ones exceed it 3 times in 1000."""


def block_count(width: int, level: int) -> int:
    """Return how many blocks of ``2 ** level`` columns cover ``width`` columns.

    >>> block_count(5461, 2), block_count(1, 4), block_count(0, 1)
    (1366, 1, 0)
    """
    return -(-width // (1 << level))


def block_sums(matrix: Tensor, level: int) -> Tensor:
    """Sum over blocks of ``2 ** level`` neighbouring columns; the last block may be short.

    Args:
        matrix: ``[rows, width]``, floating point.
        level: 0 or more; at level 0 the matrix itself is returned.

    Returns:
        ``[rows, blocks]``.

    >>> block_sums(torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]]), 1)
    tensor([[3., 7., 5.]])
    """
    # One halving a level, like the transform itself. A sum over a tiny inner axis is several times slower on
    # a CPU, and a product with a vector of ones would follow the user's reduced matmul precision.
    for _ in range(level):
        even, odd = matrix[:, 0::2], matrix[:, 1::2]
        if even.shape[1] == odd.shape[1]:
            matrix = even + odd
        else:
            matrix = even.clone(memory_format=torch.contiguous_format)
            matrix[:, : odd.shape[1]].add_(odd)
    return matrix


def spread_blocks(blocks: Tensor, level: int, width: int) -> Tensor:
    """Repeat every entry ``2 ** level`` times along the row and cut to ``width`` columns.

    Args:
        blocks: ``[rows, blocks]``, float32 or float64.
        level: 0 or more; at level 0 the same tensor is returned.
        width: columns of the result.

    Returns:
        ``[rows, width]``, rows contiguous in themselves, ready to be written into unless the level is 0.

    >>> spread_blocks(torch.tensor([[1.0, 2.0]]), 1, 3)
    tensor([[1., 1., 2.]])
    """
    if level == 0:
        return blocks
    if blocks.device.type == "cpu":
        # torch.complex(x, x) is the one vectorized interleave of two contiguous tensors, twice as fast as a
        # copy from an expanded view.
        remaining = level
        if remaining > 1 and blocks.dtype == torch.float32:
            # Nothing is computed with them, so that two equal numbers may be moved as one of twice the width.
            pairs = torch.complex(blocks, blocks).view(torch.float64)
            blocks = torch.view_as_real(torch.complex(pairs, pairs)).view(torch.float32).flatten(-2)
            remaining -= 2
        for _ in range(remaining):
            blocks = torch.view_as_real(torch.complex(blocks, blocks)).flatten(-2)
    else:
        blocks = blocks.unsqueeze(-1).expand(*blocks.shape, 2**level).flatten(-2)
    return blocks[:, :width]
