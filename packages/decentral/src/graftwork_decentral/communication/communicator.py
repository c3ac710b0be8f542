"""One round between neighbours, wherever they are.

A communicator holds some of the agents in this process, the rows of every tensor that it is given. To mix is
to fetch the neighbours' rows and to add, in ascending order of the neighbours' numbers::

    mix(x)_i = x_i + sum_j w_ij (x_j - x_i)

Both ends of an edge compute the same difference, so that float32 loses nothing of the mean; and every back
end does the same arithmetic in the same order, so that all of them agree bit for bit on a CPU.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from copy import copy
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import torch
from torch import Tensor

from graftwork import GraftworkError
from graftwork_decentral.communication.lost import MembershipChanged
from graftwork_decentral.communication.paths.choice import mixed_by
from graftwork_decentral.communication.paths.plan import MixPlan
from graftwork_decentral.communication.planning import planned
from graftwork_decentral.communication.traffic import Traffic
from graftwork_decentral.strategies.form import Exchange
from graftwork_decentral.topology.topology import GraphSequence, Topology

MixingPath = Literal["auto", "differences", "dense", "gathered", "rowwise"]
_KEPT_PLANS = 64
T = TypeVar("T")


class Communicator(ABC):
    """Exchanges rows with neighbours and mixes them.

    Args:
        graphs: who exchanges with whom, at every step.
        rows: the agents of this process, consecutive numbers.
        path: how mixing is computed. ``differences`` is bitwise the same in every back end; ``auto`` may take
            a matrix product where that is faster and the weights allow it.
        device: of the tensors.
    """

    def __init__(self, graphs: GraphSequence, rows: range, path: MixingPath, device: torch.device) -> None:
        self.graphs = graphs
        self.rows = rows
        self.path: MixingPath = path
        self.device = device
        self.traffic = Traffic()
        self.on_membership_change: list[Callable[[MembershipChanged], None]] = []
        """Called in this order, on every process, when agents are lost or come back: repairs of state."""
        self._plans: OrderedDict[str, tuple[MixPlan, Topology]] = OrderedDict()
        self._messages: OrderedDict[str, tuple[int, Topology]] = OrderedDict()

    @property
    def agents(self) -> int:
        """How many agents there are in all processes, those included that are lost."""
        return self.graphs.agents

    @property
    def living(self) -> tuple[int, ...]:
        """The agents that take part."""
        return tuple(range(self.agents))

    @property
    def joins(self) -> bool:
        """Whether this process came back, and is yet to be given the others' state."""
        return False

    def start(self, step: int) -> int:
        """Return the step to begin with; call it once, when ``on_membership_change`` is filled.

        Args:
            step: to begin with, unless this process joins others that are further.
        """
        return step

    def bring_in(self, behind: Collection[int], step: int) -> None:
        """Say before :meth:`start` which agents have no state of the step that the others begin with.

        Args:
            behind: these agents, the same on every process.
            step: of the others.
        """
        raise GraftworkError("agents without a state come in only where processes outlive each other")

    def reached(self, step: int) -> None:  # noqa: B027, as it is of use to some
        """Say which step is next, outside an exchange: a change of membership meanwhile goes on from it."""

    def on(self, graphs: GraphSequence) -> Communicator:
        """Return one between the same agents on other graphs; both count traffic together.

        Every process must call it, with the same graphs.

        Args:
            graphs: who exchanges with whom there.

        Raises:
            GraftworkError: the graphs have another number of agents or differ between processes, or this
                communicator has faults, which are of its own graphs.
        """
        if graphs.digest == self.graphs.digest:
            return self
        if graphs.agents != self.agents:
            raise GraftworkError(
                f"topology {graphs.name!r} has {graphs.agents} agents and {self.graphs.name!r} has "
                f"{self.agents}; variables of the same agents need graphs of as many"
            )
        if hasattr(self.graphs, "support") or self.remembers:
            raise GraftworkError(
                f"some variables are to be mixed on {graphs.name!r} and others on {self.graphs.name!r}, and "
                "[faults] are of one graph; use one topology for all levels, with topology.lazy = true where "
                "strategies need lazy weights, or leave the faults out"
            )
        # Those that differ would wait for each other for ever.
        if not self.is_common(graphs.digest):
            raise GraftworkError(
                f"processes disagree on topology {graphs.name!r}; give all of them one recipe"
            )
        # What it keeps it keeps by the graph's digest, so that a copy may share it.
        other = copy(self)
        other.graphs = graphs
        return other

    def is_common(self, digest: str) -> bool:
        """Whether all processes give the same digest; every process must call it.

        Args:
            digest: hexadecimal.
        """
        mine = torch.tensor([int(digest[:10], 16), 1], dtype=torch.float64, device=self.device)
        total, processes = self.sum(mine).tolist()
        return bool(total == float(mine[0]) * processes)

    def exchange(self, payloads: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        """Mix several tensors in one round.

        Args:
            payloads: by name, each ``[agents here, parameters]``; the same names on every process.
            step: of the training, whose graph is used.

        Returns:
            The mixed tensors by name.
        """
        topology = self.graphs.at(step)
        known = self.known(payloads, topology, step)
        plan = self.plan(topology)
        return {name: mixed_by(self.path, rows, plan, dyadic=topology.dyadic) for name, rows in known.items()}

    def at(self, step: int) -> Exchange:
        """Return the rounds of one step."""

        def round_of_step(payloads: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return self.exchange(payloads, step)

        return round_of_step

    def mix(self, buffer: Tensor, step: int) -> Tensor:
        """Mix one tensor ``[agents here, parameters]``."""
        return self.exchange({"point": buffer}, step)["point"]

    def known(self, payloads: Mapping[str, Tensor], topology: Topology, step: int) -> dict[str, Tensor]:
        """Fetch the neighbours' rows and count what was sent; nothing has changed where it fails.

        Args:
            payloads: by name, each ``[agents here, ...]``.
            topology: whose neighbours are asked.
            step: of the training.
        """
        known = self.fetch(payloads, topology)
        self._count(payloads, topology)
        return known

    @abstractmethod
    def fetch(self, payloads: Mapping[str, Tensor], topology: Topology) -> dict[str, Tensor]:
        """Return the rows of this process followed by those of :meth:`halo`, by name."""

    @abstractmethod
    def halo(self, topology: Topology) -> list[int]:
        """Return the agents of other processes whose rows are needed here, in the order of :meth:`fetch`."""

    @abstractmethod
    def sum(self, value: Tensor) -> Tensor:
        """Return the sum over processes of a tensor of the same shape in each."""

    def mean(self, buffer: Tensor) -> Tensor:
        """Return the mean over all agents of ``[agents here, ...]``; every process must call it."""
        return self.sum(buffer.sum(dim=0)) / len(self.living)

    def traffic_of_all(self) -> dict[str, float]:
        """Return the rounds so far, and what all agents together sent; every process must call it."""
        sent = torch.tensor([self.traffic.bytes, self.traffic.messages], dtype=torch.float64)
        total = self.sum(sent.to(self.device)).tolist()
        return {"rounds": float(self.traffic.rounds), "bytes_sent": total[0], "messages_sent": total[1]}

    def of_agents(self, value: int) -> dict[int, int]:
        """Return what the process of every living agent gives; every process must call it.

        Args:
            value: of this process.
        """
        table = torch.zeros(self.agents, dtype=torch.float64, device=self.device)
        table[list(self.rows)] = float(value)
        total = self.sum(table).tolist()
        return {agent: int(total[agent]) for agent in self.living}

    def adopted(self, buffer: Tensor, joined: Collection[int]) -> Tensor:
        """Return ``[agents here, ...]`` in which agents that came back hold the mean of the others.

        Args:
            buffer: of the same shape; every process must call it.
            joined: agents without a state.
        """
        here = torch.tensor([agent in joined for agent in self.rows], device=buffer.device)
        with_state = [agent for agent in self.living if agent not in joined]
        total = self.sum(buffer[~here].sum(dim=0))
        adopted = buffer.clone()
        adopted[here] = total / len(with_state)
        return adopted

    @property
    def remembers(self) -> bool:
        """Whether what is sent depends on what was sent before."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """Return what is remembered, tensors and plain numbers; nothing where each round is for itself."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027, as most remember nothing
        """Take over what :meth:`state_dict` returned, on the same agents.

        Raises:
            GraftworkError: it is of other faults, or of other links.
        """

    def close(self, *, together: bool = True) -> None:  # noqa: B027, as some have nothing to close
        """Let go of what was opened.

        Args:
            together: wait until all are here; not where this process fails, and the others are elsewhere.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(together=error is None)

    def plan(self, topology: Topology) -> MixPlan:
        """Return what mixing needs to know of a graph, kept for the newest few."""

        def make() -> MixPlan:
            known = torch.tensor([*self.rows, *self.halo(topology)])
            return planned(topology, self.rows, known).to(self.device)

        return self._kept(self._plans, topology, make)

    def _kept(
        self, cache: OrderedDict[str, tuple[T, Topology]], topology: Topology, make: Callable[[], T]
    ) -> T:
        """The newest few of what is made once a graph."""
        key = topology.digest
        if key not in cache:
            cache[key] = (make(), topology)
            while len(cache) > _KEPT_PLANS:
                cache.popitem(last=False)
        return cache[key][0]

    def _count(self, payloads: Mapping[str, Tensor], topology: Topology) -> None:
        # A symmetric graph sends along the edges it receives on; others have as many out as in on the whole.
        def messages_of_a_round() -> int:
            linked = topology.mixing_matrix[self.rows.start : self.rows.stop] != 0
            own = linked[:, self.rows.start : self.rows.stop].diagonal()
            return int(linked.sum()) - int(own.sum())

        messages = self._kept(self._messages, topology, messages_of_a_round)
        row_bytes = sum(value[0].numel() * value.element_size() for value in payloads.values())
        self.traffic.count(messages, row_bytes)
