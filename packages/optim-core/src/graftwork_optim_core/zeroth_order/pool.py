"""What a zeroth-order optimizer remembers, laid out so that a step is a few calls whatever the number of
weights.

Weights of one device and one dtype of arithmetic share a pool. In it stand, each as one flat tensor with a
view for every weight: the current direction (U of a matrix, z of a vector), the movement that is not yet
written into the weights (``moved``), and the momentum. Weights of one group and one factor ``scale`` lie side
by side, so that ``moved <- moved - lr * scale * c * direction`` is one call for all of them.

The views of ``moved`` and ``momentum``, and the right factors V, are the optimizer's state.

Shapes: directions, ``moved`` and ``momentum`` of a matrix ``[rows, rank]``, of a vector its own; V
    ``[columns,
rank]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from graftwork_optim_core.common.parameters import arithmetic_dtype
from graftwork_optim_core.common.sharding import is_sharded_type, local_part, placed_like
from graftwork_optim_core.numerics.philox import NormalBatch
from graftwork_optim_core.zeroth_order.sites import PerturbationSite

LEFT, RIGHT = 0, 1
"""Roles of random numbers: the left factor or the whole direction, and the right factor."""
PROBE_BITS = 8


@dataclass(frozen=True, slots=True)
class PoolSegment:
    """Neighbours in a pool that move by the same factor.

    Args:
        group: their parameter group.
        scale: factor of their direction.
        start: of their numbers.
        stop: behind their numbers.
    """

    group: dict[str, Any]
    scale: float
    start: int
    stop: int


@dataclass(slots=True, eq=False)
class Pool:
    """The held directions of the weights of one device and dtype.

    Args:
        sites: low-rank ones and vectors, those of a segment together.
        device: where they lie.
        dtype: of the arithmetic.
        keeps_moved: whether movement may stay beside the weights.
    """

    sites: Sequence[PerturbationSite]
    device: torch.device
    dtype: torch.dtype
    keeps_moved: bool
    segments: list[PoolSegment] = field(init=False)
    offsets: list[int] = field(init=False)
    direction: Tensor = field(init=False)
    moved: Tensor | None = field(init=False)
    momentum: Tensor | None = field(init=False)
    _lefts: NormalBatch = field(init=False)
    _rights: NormalBatch = field(init=False)

    def __post_init__(self) -> None:
        lefts = [(site.key, site.first_element, site.direction_count) for site in self.sites]
        self._lefts = NormalBatch(lefts, device=self.device)
        self._rights = NormalBatch(
            [(site.key, 0, site.columns * site.rank) for site in self.matrices], device=self.device
        )
        self.offsets = [int(numbers.storage_offset()) for numbers in self._lefts.draw(0, 0, LEFT)]
        self.direction = torch.zeros(self._lefts.flat_size, dtype=self.dtype, device=self.device)
        self.moved = torch.zeros_like(self.direction) if self.keeps_moved else None
        remembers = any(site.group["momentum"] > 0 for site in self.sites)
        self.momentum = torch.zeros_like(self.direction) if remembers else None
        self.segments = list(self._segments())

    @property
    def matrices(self) -> list[PerturbationSite]:
        """The sites whose directions are of low rank."""
        return [site for site in self.sites if site.form == "low-rank"]

    def view(self, flat: Tensor, index: int) -> Tensor:
        """Return the numbers of the site of that index: ``[rows, rank]``, or ``[rows, columns]`` of a
        vector."""
        site, start = self.sites[index], self.offsets[index]
        return flat[start : start + site.direction_count].view(site.rows, site.rank or site.columns)

    def views(self, flat: Tensor) -> list[Tensor]:
        """Return the numbers of every site."""
        return [self.view(flat, index) for index in range(len(self.sites))]

    def draw(self, seed: int, step: int, probe: int) -> None:
        """Draw the directions of a step."""
        self._draw(self._lefts, self.direction, seed, step, LEFT | probe << PROBE_BITS)

    def rights(self, seed: int, interval: int) -> list[Tensor]:
        """Draw the right factors of an interval, one for every matrix."""
        drawn = self._rights.draw(seed, interval, RIGHT)
        return [
            numbers.view(site.columns, site.rank).to(self.dtype)
            for site, numbers in zip(self.matrices, drawn, strict=True)
        ]

    def blank_rights(self) -> list[Tensor]:
        """Return zeros in the place of right factors, one for every matrix."""
        return [
            torch.zeros(site.columns, site.rank, dtype=self.dtype, device=self.device)
            for site in self.matrices
        ]

    def _draw(self, batch: NormalBatch, flat: Tensor, seed: int, moment: int, role: int) -> None:
        single = flat if flat.dtype == torch.float32 else torch.empty_like(flat, dtype=torch.float32)
        batch.draw(seed, moment, role, out=single)
        if single is not flat:
            flat.copy_(single)

    def _segments(self) -> Iterable[PoolSegment]:
        start = 0
        for index, site in enumerate(self.sites):
            last = index + 1 == len(self.sites)
            following = None if last else self.sites[index + 1]
            if following is None or following.group is not site.group or following.scale != site.scale:
                stop = self._lefts.flat_size if last else self.offsets[index + 1]
                yield PoolSegment(site.group, site.scale, start, stop)
                start = stop


def pools_of(
    sites: Iterable[PerturbationSite], accumulate_dtype: torch.dtype, *, keeps_moved: bool
) -> list[Pool]:
    """Divide the sites whose directions are held into pools."""
    divided: dict[tuple[torch.device, torch.dtype], list[PerturbationSite]] = {}
    for site in sites:
        if site.form != "streamed" and site.direction_count:
            dtype = torch.promote_types(arithmetic_dtype(site.parameter), accumulate_dtype)
            divided.setdefault((local_part(site.parameter).device, dtype), []).append(site)
    pools = []
    for (device, dtype), members in divided.items():
        # Stable, so that groups stay in order and within a group matrices come before vectors.
        order = {id(site.group): place for place, site in reversed(list(enumerate(members)))}
        members.sort(key=lambda site: (order[id(site.group)], site.form != "low-rank", site.rank))
        pools.append(Pool(members, device, dtype, keeps_moved))
    return pools


def state_of(pool: Pool, index: int, right: Tensor | None) -> dict[str, Tensor]:
    """Return the state of a site: views into the pool, placed over processes as the weight is."""
    site = pool.sites[index]
    state = {}
    if pool.moved is not None:
        state["moved"] = placed(site, pool.view(pool.moved, index))
    if right is not None:
        state["right"] = right
    if pool.momentum is not None and site.group["momentum"] > 0:
        state["momentum"] = placed(site, pool.view(pool.momentum, index))
    return state


def placed(site: PerturbationSite, local: Tensor) -> Tensor:
    """Return a tensor over this process's rows as part of one over all rows, of which it shares the
    memory."""
    parameter = site.parameter
    if not is_sharded_type(parameter):
        return local if site.rank or parameter.ndim == 2 else local.view(parameter.shape)
    shape = (parameter.shape[0], site.rank) if site.rank else tuple(parameter.shape)
    return placed_like(parameter, local if site.rank else local.view(local_part(parameter).shape), shape)
