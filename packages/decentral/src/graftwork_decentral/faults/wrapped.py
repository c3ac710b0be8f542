"""What communicators that change how rows arrive have in common.

A *channel* is one of the exchanges of a step: the payload's name, and which exchange of that name it is
within the step. What such a communicator remembers it remembers by channel, since every step has the same
ones.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from graftwork import GraftworkError
from graftwork_decentral.communication.communicator import Communicator
from graftwork_decentral.communication.lost import MembershipChanged
from graftwork_decentral.communication.paths.plan import MixPlan
from graftwork_decentral.communication.planning import planned
from graftwork_decentral.topology.topology import GraphSequence, Topology


class WrappedCommunicator(Communicator):
    """A communicator around another, which does the sending.

    Args:
        inner: the other.
        what: names this one in a message.

    Raises:
        GraftworkError: the graphs are not symmetric, or have no fixed one from which links are lost.
    """

    def __init__(self, inner: Communicator, what: str) -> None:
        super().__init__(inner.graphs, inner.rows, inner.path, inner.device)
        self.inner = inner
        self.traffic = inner.traffic
        self._fixed = fixed_support(inner.graphs, what)
        self._step: int | None = None
        self._seen: dict[str, int] = {}
        # Not appended: every repair after it may communicate, and must find this one's memory emptied.
        inner.on_membership_change.insert(0, self._forget)
        self.on_membership_change = inner.on_membership_change
        self._what = what

    @property
    def living(self) -> tuple[int, ...]:
        return self.inner.living

    @property
    def joins(self) -> bool:
        return self.inner.joins

    def start(self, step: int) -> int:
        return self.inner.start(step)

    def bring_in(self, behind: Collection[int], step: int) -> None:
        self.inner.bring_in(behind, step)

    def reached(self, step: int) -> None:
        self.inner.reached(step)

    def exchange(self, payloads: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        channels = self._channels(payloads, step)
        views = self.views({channels[name]: value for name, value in payloads.items()}, step)
        topology = self.graphs.at(step)
        mixed = {}
        for name, value in payloads.items():
            pull = self.pull(channels[name], views[channels[name]], topology, step)
            mixed[name] = (value.to(pull.dtype) + self.gain * pull).to(value.dtype)
        return mixed

    @property
    def gain(self) -> float:
        """By how much the pull towards the neighbours is scaled."""
        return 1.0

    def views(self, payloads: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        """Return what all who know an agent's row take it to be, ``[known, ...]``.

        Args:
            payloads: by channel.
            step: of the training.
        """
        if isinstance(self.inner, WrappedCommunicator):
            return self.inner.views(payloads, step)
        return self.inner.known(payloads, self._fixed, step)

    def pull(self, channel: str, views: Tensor, topology: Topology, step: int) -> Tensor:
        """Return ``sum_j w_ij (view_j - view_i)``, ``[agents here, ...]``, in float32 at least.

        Args:
            channel: of the exchange.
            views: of :meth:`views`.
            topology: of this step.
            step: of the training.
        """
        plan = self.plan_within(topology)
        work = views.to(torch.promote_types(views.dtype, torch.float32))
        weights = plan.weights.to(work)
        total = torch.zeros_like(work[plan.rows])
        for place in range(plan.neighbours.shape[1]):
            difference = work[plan.neighbours[:, place]] - work[plan.rows]
            total += difference * spread(weights[:, place], difference)
        return total

    def fetch(self, payloads: Mapping[str, Tensor], topology: Topology) -> dict[str, Tensor]:
        return self.inner.fetch(payloads, topology)

    def known(self, payloads: Mapping[str, Tensor], topology: Topology, step: int) -> dict[str, Tensor]:
        return self.inner.known(payloads, topology, step)

    def halo(self, topology: Topology) -> list[int]:
        return self.inner.halo(topology)

    def sum(self, value: Tensor) -> Tensor:
        return self.inner.sum(value)

    def close(self, *, together: bool = True) -> None:
        self.inner.close(together=together)

    @property
    def remembers(self) -> bool:
        return True

    def state_dict(self) -> dict[str, Any]:
        return {**self._identity(), "memory": self.remembered(), "inner": self.inner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if {name: state.get(name) for name in self._identity()} != self._identity():
            raise GraftworkError(
                f"{self._what} depends on what was sent before, and what was saved is of other faults or "
                "links: go on with the [faults] and the topology that it was saved with"
            )
        self.remember(state["memory"])
        self.inner.load_state_dict(state["inner"])

    @abstractmethod
    def remembered(self) -> dict[str, Any]:
        """Return the tensors that are remembered, by channel."""

    @abstractmethod
    def remember(self, tensors: Mapping[str, Any]) -> None:
        """Take over what :meth:`remembered` returned."""

    @abstractmethod
    def forget(self) -> None:
        """Empty what is remembered, as it was at the start."""

    def plan_within(self, topology: Topology) -> MixPlan:
        """Return the plan of a step's graph over the rows that the fixed graph makes known."""
        if topology.digest == self._fixed.digest:
            return self.plan(topology)
        known = torch.tensor([*self.rows, *self.halo(self._fixed)])
        return planned(topology, self.rows, known).to(self.device)

    def _identity(self) -> dict[str, str]:
        """What a memory is of; with another it is of no use."""
        return {"kind": self._what, "links": self._fixed.digest}

    def _channels(self, payloads: Mapping[str, Tensor], step: int) -> dict[str, str]:
        if step != self._step:
            self._step, self._seen = step, {}
        channels = {}
        for name in payloads:
            self._seen[name] = self._seen.get(name, 0) + 1
            channels[name] = f"{name}.{self._seen[name]}"
        return channels

    def _forget(self, change: MembershipChanged) -> None:
        # Not those of the next one inside, which may be told after this one.
        innermost = self.inner
        while isinstance(innermost, WrappedCommunicator):
            innermost = innermost.inner
        self.graphs = innermost.graphs
        self._fixed = fixed_support(self.graphs, self._what)
        self._step, self._seen = None, {}
        self.forget()


def spread(column: Tensor, like: Tensor) -> Tensor:
    """Return ``[m]`` as ``[m, 1, ...]``, to multiply the rows of a tensor."""
    return column.reshape(-1, *[1] * (like.ndim - 1))


def fixed_support(graphs: GraphSequence, what: str) -> Topology:
    """Return the fixed graph whose links are all that is ever used.

    Args:
        graphs: fixed, or such from which links are lost.
        what: names who asks in a message.

    Raises:
        GraftworkError: they change in another way, or are not symmetric.
    """
    whole = graphs
    while whole.varies:
        # Survivors and faults keep what they took links from under one of these names.
        further = getattr(whole, "support", None)
        if further is None:
            raise GraftworkError(
                f"{what} needs a fixed topology, whose links may fail, and {graphs.name!r} changes from step "
                "to step: what is remembered of a neighbour is of use only where it stays one; choose a "
                "fixed one"
            )
        whole = further
    if not whole.symmetric:
        raise GraftworkError(
            f"{what} needs a symmetric topology and {graphs.name!r} is not: both ends of a link must "
            "subtract the same, so that the mean over agents is kept; choose an undirected one"
        )
    return whole.at(0)
