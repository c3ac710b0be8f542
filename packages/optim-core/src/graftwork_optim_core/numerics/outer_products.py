"""``target += parts lefts^T`` in place, for factors of a few columns.

A matrix product does that in one pass over the target, except where the target's rows lie a multiple of 2048
bytes apart on a CPU: there the library's kernels for narrow factors fall back to a fifth of their speed or
less (measured with torch 2.15 and MKL: 256 rows of 1536 floats 150 us, of 768 floats 16 us), and a fused
multiply-add a column, over pieces that stay in the cache, is faster.

Shapes: target ``[rows, columns]``, parts ``[rows, rank]``, lefts ``[columns, rank]``.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SLOW_STRIDE_BYTES = 2048
_MOST_COLUMNS = 4
_PIECE = 1 << 17


def add_product_(target: Tensor, parts: Tensor, lefts: Tensor) -> Tensor:
    """Add ``parts lefts^T`` to a matrix in place and return it.

    Args:
        target: any strides; of the factors' dtype.
        parts: ``[rows, rank]``.
        lefts: ``[columns, rank]``.

    >>> add_product_(torch.zeros(2, 3), torch.tensor([[1.0], [2.0]]), torch.ones(3, 1))
    tensor([[1., 1., 1.],
            [2., 2., 2.]])
    """
    rank = parts.shape[1]
    stride = target.stride(0) * target.element_size()
    slow = target.device.type == "cpu" and stride % _SLOW_STRIDE_BYTES == 0 and target.shape[0] > 32
    if not slow or rank > _MOST_COLUMNS or target.element_size() < 4:
        return target.addmm_(parts, lefts.t())
    columns = lefts.t().contiguous()
    rows = max(1, _PIECE // max(target.shape[1], 1))
    for piece, part in zip(torch.split(target, rows), torch.split(parts, rows), strict=True):
        for place in range(rank):
            piece.addcmul_(part[:, place : place + 1], columns[place])
    return target
