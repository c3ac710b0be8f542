"""Perturbing weights in place, restoring them, and writing movement into them.

``X <- X + coefficient * U V^T`` and its like, by the grouped kernels of
:mod:`graftwork_optim_core.kernels.low_rank_update`: no tensor as large as a weight is made. A streamed
weight's direction is drawn piece by piece within the kernel, each time anew from the same random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from graftwork_optim_core.kernels.low_rank_update import (
    merge_low_rank,
    perturb_full,
    perturb_low_rank,
)
from graftwork_optim_core.zeroth_order.pool import LEFT, PROBE_BITS, Pool
from graftwork_optim_core.zeroth_order.sites import PerturbationSite


@dataclass(frozen=True, slots=True)
class ProbeKey:
    """Which random numbers: of which seed, step and probe."""

    seed: int
    step: int
    probe: int


def add_to_weights(
    pool: Pool,
    indices: Sequence[int],
    flat: Tensor,
    rights: Sequence[Tensor | None],
    coefficient: float,
    *,
    decay: float = 1.0,
    rounding: Sequence[int] | None = None,
) -> None:
    """Add ``coefficient * left V^T``, or ``coefficient * vector``, to the weights of some sites of a pool.

    Args:
        pool: of the sites.
        indices: of the sites in the pool.
        flat: left factors and vectors, laid out as the pool's directions.
        rights: V of every site of the pool, None for a vector.
        coefficient: of the addition.
        decay: factor of the weights before it.
        rounding: seed of stochastic rounding of half-precision matrices; none rounds to nearest.
    """
    groups: dict[tuple[torch.dtype, int], list[int]] = {}
    for index in indices:
        right = rights[index]
        weight = pool.sites[index].matrix
        if right is None:
            if decay != 1.0:
                weight.mul_(decay)
            weight.add_(pool.view(flat, index), alpha=coefficient)
        else:
            groups.setdefault((weight.dtype, right.shape[1]), []).append(index)
    for (dtype, _), members in groups.items():
        chosen = [rights[index] for index in members]
        merge_low_rank(
            [pool.sites[index].matrix for index in members],
            [pool.view(flat, index) for index in members],
            [right for right in chosen if right is not None],
            scale=coefficient,
            decay=decay,
            rounding=rounding if dtype == torch.bfloat16 else None,
            parameter_indices=[pool.sites[index].key for index in members],
            first_rows=[pool.sites[index].first_row for index in members],
        )


def perturb(
    pool: Pool,
    indices: Sequence[int],
    rights: Sequence[Tensor | None],
    coefficient: float,
    key: ProbeKey,
) -> None:
    """Add ``coefficient * direction`` to the weights of some sites of a pool, which holds those directions.

    On an accelerator the left factors of matrices are drawn once more within the kernel, which costs less
    than reading them.
    """
    if pool.device.type == "cpu":
        add_to_weights(pool, indices, pool.direction, rights, coefficient)
        return
    by_rank: dict[int, list[int]] = {}
    for index in indices:
        by_rank.setdefault(pool.sites[index].rank, []).append(index)
    add_to_weights(pool, by_rank.pop(0, []), pool.direction, rights, coefficient)
    for rank, members in by_rank.items():
        chosen = [rights[index] for index in members]
        perturb_low_rank(
            [pool.sites[index].matrix for index in members],
            [right for right in chosen if right is not None],
            coefficient,
            seed=key.seed,
            moment=key.step,
            parameter_indices=[pool.sites[index].key for index in members],
            role=LEFT | key.probe << PROBE_BITS,
            rank=rank,
            first_rows=[pool.sites[index].first_row for index in members],
        )


def stream(
    targets: Sequence[Tensor],
    sites: Sequence[PerturbationSite],
    coefficient: float | Tensor,
    key: ProbeKey,
) -> None:
    """Add ``coefficient * z`` of streamed sites to tensors of the weights' local shapes."""
    if sites:
        perturb_full(
            targets,
            coefficient,
            seed=key.seed,
            moment=key.step,
            parameter_indices=[site.key for site in sites],
            role=LEFT | key.probe << PROBE_BITS,
            first_elements=[site.first_element for site in sites],
        )
