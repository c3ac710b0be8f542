"""All weights of a zeroth-order optimizer: their pools, their right factors, and the state that shows
them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from graftwork_optim_core.common.sharding import local_part
from graftwork_optim_core.zeroth_order.in_place import add_to_weights
from graftwork_optim_core.zeroth_order.pool import Pool, placed, pools_of, state_of
from graftwork_optim_core.zeroth_order.sites import PerturbationSite, sites_of


@dataclass(slots=True, eq=False)
class Weights:
    """The weights of all groups.

    Args:
        groups: the optimizer's parameter groups.
        accumulate_dtype: least precision of movement and momentum.
        keeps_moved: whether movement may stay beside the weights.
    """

    groups: Sequence[dict[str, Any]]
    accumulate_dtype: torch.dtype
    keeps_moved: bool
    sites: list[PerturbationSite] = field(init=False)
    pools: list[Pool] = field(init=False)
    streamed: list[PerturbationSite] = field(init=False)
    rights: list[list[Tensor | None]] = field(init=False)
    steps: list[Tensor] = field(init=False)
    streamed_momentum: dict[int, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.sites = sites_of(self.groups)
        self.pools = pools_of(self.sites, self.accumulate_dtype, keeps_moved=self.keeps_moved)
        self.streamed = [site for site in self.sites if site.form == "streamed" and site.direction_count]
        self.steps = [torch.zeros(()) for _ in self.groups]
        self.streamed_momentum = {
            id(site): torch.zeros_like(
                site.matrix, dtype=torch.promote_types(site.matrix.dtype, torch.float32)
            )
            for site in self.streamed
            if site.group["momentum"] > 0
        }
        self.rights = []
        for pool in self.pools:
            drawn = iter(pool.blank_rights())
            self.rights.append([next(drawn) if site.rank else None for site in pool.sites])

    @property
    def step(self) -> int:
        """Steps made; of the group that has made the most."""
        return max((int(step) for step in self.steps), default=0)

    @property
    def elsewhere(self) -> bool:
        """Whether some movement lies beside the weights."""
        return any(pool.moved is not None and bool(pool.moved.count_nonzero()) for pool in self.pools)

    def states(self) -> Iterator[tuple[PerturbationSite, dict[str, Any]]]:
        """Yield every site with the state that shows what is held for it."""
        numbers = {id(group): number for number, group in enumerate(self.groups)}
        held = {
            id(site): state_of(pool, index, rights[index])
            for pool, rights in zip(self.pools, self.rights, strict=True)
            for index, site in enumerate(pool.sites)
        }
        for site in self.sites:
            state: dict[str, Any] = {"step": self.steps[numbers[id(site.group)]]}
            state |= held.get(id(site), {})
            if id(site) in self.streamed_momentum:
                state["momentum"] = placed(site, self.streamed_momentum[id(site)])
            yield site, state

    def draw_rights(self, seed: int, interval: int, groups: Sequence[dict[str, Any]]) -> None:
        """Draw the right factors of some groups' matrices, in place; of additive ones those of interval 0."""
        chosen = {id(group) for group in groups}
        for pool, rights in zip(self.pools, self.rights, strict=True):
            drawn = pool.rights(seed, interval)
            first = pool.rights(seed, 0) if any(site.additive for site in pool.sites) else drawn
            held = [right for right in rights if right is not None]
            for site, right, new, kept in zip(pool.matrices, held, drawn, first, strict=True):
                if id(site.group) in chosen:
                    right.copy_(kept if site.additive else new)

    def refresh(self, seed: int, interval: int) -> None:
        """Take the right factors of a new interval, and carry the momentum over into them.

        ``N <- N (V_old^T V_new) / columns``: the least-squares expression of ``N V_old^T`` in V_new, with
        ``V_new^T V_new`` replaced by its mean.
        """
        for pool, rights in zip(self.pools, self.rights, strict=True):
            new = iter(pool.rights(seed, interval))
            for index, site in enumerate(pool.sites):
                right = rights[index]
                if right is None:
                    continue
                drawn = next(new)
                if site.additive:
                    continue
                if pool.momentum is not None and site.group["momentum"] > 0:
                    momentum = pool.view(pool.momentum, index)
                    carried = (right.t() @ drawn) / site.columns
                    # A step that its closure broke off has taken the new factors already.
                    taken = (right == drawn).all()
                    carried = torch.where(taken, torch.eye(site.rank).to(carried), carried)
                    momentum.copy_(momentum @ carried)
                right.copy_(drawn)

    def merge(self, rounding: tuple[int, int] | None, in_place: Callable[[Pool], Sequence[int]]) -> None:
        """Write what lies beside the weights into them; of additive ones it stays.

        Args:
            rounding: seed of stochastic rounding; none rounds to nearest.
            in_place: indices of a pool's sites that hold all their movement and decay already.
        """
        for pool, rights in zip(self.pools, self.rights, strict=True):
            if pool.moved is None:
                continue
            by_decay: dict[float, list[int]] = {}
            done = set(in_place(pool))
            for index, site in enumerate(pool.sites):
                if not site.additive and index not in done:
                    by_decay.setdefault(float(site.group["pending_decay"]), []).append(index)
            for decay, indices in by_decay.items():
                add_to_weights(pool, indices, pool.moved, rights, 1.0, decay=decay, rounding=rounding)
                if len(indices) == len(pool.sites):
                    pool.moved.zero_()
                else:
                    for index in indices:
                        pool.view(pool.moved, index).zero_()
        for group in self.groups:
            if not group["additive"]:
                group["pending_decay"] = 1.0

    def device(self) -> torch.device:
        """Where the first weight lies."""
        return local_part(self.sites[0].parameter).device if self.sites else torch.device("cpu")
