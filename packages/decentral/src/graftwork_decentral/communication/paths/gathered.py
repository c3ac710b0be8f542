"""Mixing by differences, all rows at once:

    mix(x)_i = x_i + sum_j w_ij (x_j - x_i),    j in ascending order of the neighbours' numbers

The k-th neighbours of all rows are copied together, so that a graph of small degree takes few operations
however many agents it has. Difference, product and sum are rounded one by one, nowhere fused: every element
has the same bits however rows and columns are laid out, and w_ij (x_j - x_i) = - w_ji (x_i - x_j) exactly
where the weights are symmetric, so that the mean over agents does not drift.

Rows of fewer neighbours are left out of what they do not need: a star does not cost its centre's degree times
its rows.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from graftwork_decentral.communication.paths.blocks import mix_blocks, work_dtype
from graftwork_decentral.communication.paths.plan import MixPlan
from graftwork_decentral.kernels.workspace import block_width, workspace


class KthNeighbours(NamedTuple):
    """The k-th neighbours.

    Args:
        rows: own rows that have one: a slice where they follow each other, else ``[some]``.
        neighbours: ``[some]`` positions of them inside ``known``.
        weights: ``[some, 1]`` of the arithmetic's dtype.
        all: whether every own row has one.
    """

    rows: slice | Tensor
    neighbours: Tensor
    weights: Tensor
    all: bool


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
    places = kth_neighbours(plan, work_dtype(known.dtype))
    width = min(block_width(max(1, len(plan.rows)), known.device), max(1, known.shape[-1]))
    scratch = workspace("apart", (len(plan.rows), width), work_dtype(known.dtype), known.device)

    def mix_block(source: Tensor, mixed: Tensor) -> None:
        own = plan.own(source)
        apart = scratch[:, : source.shape[1]]
        # A first neighbour of all rows saves a copy.
        begun = bool(places) and places[0].all
        if not begun:
            mixed.copy_(own)
        for number, (rows, neighbours, weights, _) in enumerate(places):
            if isinstance(rows, slice):
                some = torch.index_select(source, 0, neighbours, out=apart[rows])
                some.sub_(own[rows]).mul_(weights)
                torch.add(own if begun and number == 0 else mixed[rows], some, out=mixed[rows])
            else:
                some = source.index_select(0, neighbours).sub_(own.index_select(0, rows)).mul_(weights)
                mixed.index_add_(0, rows, some)

    return mix_blocks(known, plan, out, width, mix_block)


def kth_neighbours(plan: MixPlan, dtype: torch.dtype) -> tuple[KthNeighbours, ...]:
    """Return the first neighbours, the second ones, and so on."""

    def make() -> tuple[KthNeighbours, ...]:
        places = []
        for place, real in enumerate(plan.real.unbind(dim=1)):
            if not bool(real.any()):
                continue
            having = real.nonzero().flatten()
            first, last = int(having[0]), int(having[-1])
            together = last - first + 1 == len(having)
            rows = slice(first, last + 1) if together else having
            neighbours, weights = plan.neighbours[having, place], plan.weights[having, place, None].to(dtype)
            places.append(KthNeighbours(rows, neighbours, weights, bool(real.all())))
        return tuple(places)

    return plan.made(("places", dtype), make)
