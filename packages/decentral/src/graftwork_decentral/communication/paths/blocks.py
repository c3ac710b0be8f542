"""Mixing block by block of columns, so that what one block makes stays in the cache until it is read again.

The arithmetic is float32 for narrower dtypes and that of the dtype for others; results are rounded once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from graftwork_decentral.communication.paths.plan import MixPlan
from graftwork_decentral.kernels.workspace import workspace

MixBlock = Callable[[Tensor, Tensor], None]
"""Mixes ``[known, columns]`` into ``[m, columns]``, both of the arithmetic's dtype."""


def work_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of the arithmetic.

    >>> work_dtype(torch.bfloat16), work_dtype(torch.float64)
    (torch.float32, torch.float64)
    """
    return torch.promote_types(dtype, torch.float32)


def mix_blocks(known: Tensor, plan: MixPlan, out: Tensor | None, width: int, mix_block: MixBlock) -> Tensor:
    """Call a function for every block; return the mixed rows.

    Args:
        known: ``[known, parameters]``.
        plan: whose rows to mix.
        out: where to, ``[m, parameters]`` of the same dtype, no part of ``known``; a new tensor if None.
        width: columns of a block.
        mix_block: mixes one.

    Raises:
        ValueError: the shapes do not fit together.
    """
    parameters = known.shape[1] if known.ndim == 2 else -1
    if known.ndim != 2 or known.shape[0] != plan.known or not known.is_floating_point():
        raise ValueError(
            f"known must be a floating matrix of {plan.known} rows, "
            f"got shape {tuple(known.shape)} of {known.dtype}"
        )
    shape = (len(plan.rows), parameters)
    mixed = known.new_empty(shape) if out is None else out
    if mixed.shape != shape or mixed.dtype != known.dtype:
        raise ValueError(f"out must be {shape} of {known.dtype}, got {tuple(mixed.shape)} of {mixed.dtype}")
    work = work_dtype(known.dtype)
    with torch.no_grad():
        for first in range(0, parameters, width):
            columns = slice(first, min(first + width, parameters))
            if work == known.dtype:
                mix_block(known[:, columns], mixed[:, columns])
            else:
                count = columns.stop - columns.start
                source = workspace("source", (known.shape[0], count), work, known.device)
                wide = workspace("wide", (shape[0], count), work, known.device)
                mix_block(source.copy_(known[:, columns]), wide)
                mixed[:, columns].copy_(wide)
    return mixed
