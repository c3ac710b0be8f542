"""Mixing by differences, row by row:

    mix(x)_i = x_i + sum_j w_ij (x_j - x_i),    j in ascending order of the neighbours' numbers

The arithmetic is that of :mod:`~.gathered`, operation by operation, and so are all bits of the result. No
neighbour's row is copied, but every edge takes three operations of its own: this is for long rows, which are
cut into pieces whose intermediate results stay in the cache.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graftwork_decentral.communication.paths.blocks import mix_blocks, work_dtype
from graftwork_decentral.communication.paths.plan import MixPlan
from graftwork_decentral.kernels.workspace import workspace

# Torch shares an operation among threads from 2**15 elements for each; below, calls cost more than they save.
_ELEMENTS_A_THREAD = 1 << 15
_KNOWN_ELEMENTS = 1 << 21

Edges = tuple[tuple[tuple[int, float], ...], ...]


def mix(known: Tensor, plan: MixPlan, out: Tensor | None = None) -> Tensor:
    """Mix ``[known, parameters]`` to ``[m, parameters]``.

    Args:
        known: the own rows and the neighbours'.
        plan: whose rows to mix.
        out: where to, no part of ``known``; a new tensor if None.

    Raises:
        ValueError: the shapes do not fit together.

    >>> half = torch.full((2, 1), 0.25, dtype=torch.float64)
    >>> plan = MixPlan(torch.arange(2), torch.tensor([[1], [0]]), half, torch.zeros(2, 2))
    >>> mix(torch.tensor([[0.0], [4.0]]), plan).flatten().tolist()
    [1.0, 3.0]
    """
    own_rows, edges = plan.made("edges", lambda: _edges(plan))
    width = min(row_width(plan.known), max(1, known.shape[-1]))
    scratch = workspace("apart", (1, width), work_dtype(known.dtype), known.device)[0]

    def mix_block(source: Tensor, mixed: Tensor) -> None:
        sources, targets = source.unbind(0), mixed.unbind(0)
        apart = scratch[: source.shape[1]]
        for target, own_row, of_row in zip(targets, own_rows, edges, strict=True):
            own = sources[own_row]
            sum_so_far = own
            for neighbour, weight in of_row:
                torch.sub(sources[neighbour], own, out=apart)
                apart.mul_(weight)
                torch.add(sum_so_far, apart, out=target)
                sum_so_far = target
            if not of_row:
                target.copy_(own)

    return mix_blocks(known, plan, out, width, mix_block)


def row_width(known: int) -> int:
    """Return the columns of a block: fewer of many rows, which are to stay in the cache together."""
    least = _ELEMENTS_A_THREAD * torch.get_num_threads()
    return min(2 * least, max(least, _KNOWN_ELEMENTS // max(1, known)))


def _edges(plan: MixPlan) -> tuple[tuple[int, ...], Edges]:
    positions, weights, real = plan.neighbours.tolist(), plan.weights.tolist(), plan.real.tolist()
    edges = tuple(
        tuple((positions[row][place], weights[row][place]) for place, here in enumerate(real[row]) if here)
        for row in range(len(positions))
    )
    return tuple(plan.rows.tolist()), edges
