"""Old news: what a link brings at a step may be several steps old.

Every link has an age of its own at every step, drawn up to a largest one, and both of its ends use it::

    mix(x)_i = x_i + sum_j w_ij (x_j(k - age_ij) - x_i(k - age_ij)),     age_ij = age_ji

As both ends subtract the same two old values, what one gains the other loses, and the mean over agents is
kept exactly, whatever the ages. Subtracting an old value of the neighbour from one's own newest would not
keep it. How large ages may be before mixing itself oscillates is said by :mod:`.delay_stability`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from graftwork import GraftworkError
from graftwork_decentral.communication.communicator import Communicator
from graftwork_decentral.draws import bits
from graftwork_decentral.faults.delay_stability import largest_mixing_gap
from graftwork_decentral.faults.wrapped import WrappedCommunicator, spread
from graftwork_decentral.topology.topology import Topology

_STREAM = 2


class Delayed(WrappedCommunicator):
    """A communicator whose links bring old values.

    Args:
        inner: that does the sending.
        max_delay: the largest age in steps.
        seed: of the ages, which depend on it, the step and the link alone.

    Raises:
        ValueError: ``max_delay`` is negative.
        GraftworkError: the topology is not a fixed symmetric one whose links may fail, or mixing that old
            oscillates on it.

    >>> from graftwork_decentral.communication import StackedCommunicator
    >>> from graftwork_decentral.topology import ring
    >>> delayed = Delayed(StackedCommunicator(ring(4, lazy=True)), max_delay=1)
    >>> mixed = delayed.mix(torch.tensor([[0.0], [4.0], [0.0], [0.0]]), step=0)
    >>> float(mixed.sum())
    4.0
    """

    def __init__(self, inner: Communicator, max_delay: int, seed: int = 0) -> None:
        if max_delay < 0:
            raise ValueError(f"max_delay must be at least 0, got {max_delay}")
        super().__init__(inner, "faults.delay")
        self.max_delay, self.seed = max_delay, seed
        gap = (1 - self._fixed.lambda_min) * self.gain
        if gap >= largest_mixing_gap(max_delay):
            raise GraftworkError(
                f"mixing on {inner.graphs.name!r} with faults.delay = {max_delay} oscillates without end: "
                f"1 - lambda_min is {gap:.4g} and must be below 2 sin(pi / (2 (2 delay + 1))) = "
                f"{largest_mixing_gap(max_delay):.4g}; use a smaller faults.delay, lazy weights "
                "(topology.lazy = true) or a ring with a larger topology.self_weight"
            )
        self._past: dict[str, list[Tensor]] = {}

    @property
    def gain(self) -> float:
        return self.inner.gain if isinstance(self.inner, WrappedCommunicator) else 1.0

    def views(self, payloads: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        newest = super().views(payloads, step)
        for channel, known in newest.items():
            past = self._past.setdefault(channel, [])
            # A copy: what is compressed is updated in place, and what is sent belongs to the caller.
            past.insert(0, known.clone())
            del past[self.max_delay + 1 :]
        return newest

    def pull(self, channel: str, views: Tensor, topology: Topology, step: int) -> Tensor:
        plan, past = self.plan_within(topology), self._past[channel]
        agents = torch.tensor([*self.rows, *self.halo(self._fixed)])
        own, others = agents[plan.rows.cpu()][:, None], agents[plan.neighbours.cpu()]
        drawn = bits(self.seed, _STREAM, step, torch.minimum(own, others), torch.maximum(own, others))
        ages = torch.from_numpy((drawn % (self.max_delay + 1)).astype("int64")).clamp(max=len(past) - 1)
        kind = torch.promote_types(views.dtype, torch.float32)
        total = torch.zeros_like(views[plan.rows], dtype=kind)
        weights = plan.weights.to(kind)
        for place in range(plan.neighbours.shape[1]):
            for age in sorted(set(ages[:, place].tolist())):
                here = (ages[:, place] == age).nonzero().flatten().to(self.device)
                old = past[age].to(kind)
                difference = old[plan.neighbours[here, place]] - old[plan.rows[here]]
                total.index_add_(0, here, difference * spread(weights[here, place], difference))
        return total

    def remembered(self) -> dict[str, Any]:
        return {channel: list(past) for channel, past in self._past.items()}

    def remember(self, tensors: Mapping[str, Any]) -> None:
        self._past = {channel: [known.to(self.device) for known in past] for channel, past in tensors.items()}

    def forget(self) -> None:
        self._past = {}
