"""Agents in several processes, each with one or more: rows travel point to point between neighbours.

On ``torch.distributed``, with gloo or NCCL. No collective takes part in a round, so that a process waits for
its neighbours alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from graftwork import GraftworkError
from graftwork_decentral.communication.communicator import Communicator, Path
from graftwork_decentral.communication.layout import agents_of, owners
from graftwork_decentral.communication.routes import Route, routes_of
from graftwork_decentral.topology.topology import GraphSequence, Topology


class DistributedCommunicator(Communicator):
    """Mixes across processes.

    Args:
        graphs: who exchanges with whom.
        path: how mixing is computed.
        device: of the tensors, that of the process group's backend.
        group: a process group; the default one unless given.

    Raises:
        GraftworkError: there is no process group, there are more processes than agents, or another process
            has other graphs.
    """

    def __init__(
        self,
        graphs: GraphSequence,
        *,
        path: Path = "differences",
        device: torch.device | str = "cpu",
        group: dist.ProcessGroup | None = None,
    ) -> None:
        if not dist.is_initialized():
            raise GraftworkError(
                "communicator 'distributed' needs several processes; start them with torchrun, or take "
                "'stacked'"
            )
        self.group = group
        self.process, self.processes = dist.get_rank(group), dist.get_world_size(group)
        try:
            rows = agents_of(self.process, self.processes, graphs.agents)
        except ValueError as error:
            raise GraftworkError(f"topology {graphs.name!r}: {error}") from error
        super().__init__(graphs, rows, path, torch.device(device))
        self._owner = owners(self.processes, graphs.agents)
        self._routes: OrderedDict[str, tuple[tuple[Route, ...], Topology]] = OrderedDict()
        self._agree()

    def fetch(self, payloads: Mapping[str, Tensor], topology: Topology) -> dict[str, Tensor]:
        routes = self._routes_of(topology)
        halo = sum(len(route.receives) for route in routes)
        known = {
            name: value.new_empty(len(self.rows) + halo, *value.shape[1:]) for name, value in payloads.items()
        }
        for name, value in payloads.items():
            known[name][: len(self.rows)] = value
        if routes:
            for names in _by_dtype(payloads):
                self._swap([known[name] for name in names], routes)
        return known

    def halo(self, topology: Topology) -> list[int]:
        return [agent for route in self._routes_of(topology) for agent in route.receives]

    def sum(self, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total, group=self.group)
        return total

    def _swap(self, known: Sequence[Tensor], routes: Sequence[Route]) -> None:
        """One message each way with every peer: own rows lie first in ``known``, received ones are put
        behind."""
        widths = [value[0].numel() for value in known]
        operations, arriving = [], []
        for route in routes:
            peer = route.peer if self.group is None else dist.get_global_rank(self.group, route.peer)
            if route.sends:
                here = [agent - self.rows.start for agent in route.sends]
                leaving = torch.cat([value[here].flatten(1) for value in known], dim=1)
                self.traffic.wire_bytes += leaving.nbytes
                operations.append(dist.P2POp(dist.isend, leaving, peer, self.group))
            if route.receives:
                landing = known[0].new_empty(len(route.receives), sum(widths))
                arriving.append(landing)
                operations.append(dist.P2POp(dist.irecv, landing, peer, self.group))
        for work in dist.batch_isend_irecv(operations):
            work.wait()
        if arriving:
            rows = torch.cat(arriving)
            for value, part in zip(known, rows.split(widths, dim=1), strict=True):
                value[len(self.rows) :] = part.reshape(len(rows), *value.shape[1:])

    def _routes_of(self, topology: Topology) -> tuple[Route, ...]:
        return self._kept(self._routes, topology, lambda: routes_of(self.process, self._owner, topology))

    def _agree(self) -> None:
        """Compare the graphs of all processes once: those that differ would wait for each other for ever."""
        mine = f"{self.graphs.name} {self.graphs.agents} {self.graphs.digest}"
        all_of_them: list[str] = [""] * self.processes
        dist.all_gather_object(all_of_them, mine, group=self.group)
        for process, theirs in enumerate(all_of_them):
            if theirs != all_of_them[0]:
                raise GraftworkError(
                    f"processes disagree on the topology: process 0 has {all_of_them[0]!r} and process "
                    f"{process} has {theirs!r} (name, agents, digest); give all of them one recipe"
                )


def _by_dtype(payloads: Mapping[str, Tensor]) -> list[list[str]]:
    groups: dict[torch.dtype, list[str]] = {}
    for name, value in payloads.items():
        groups.setdefault(value.dtype, []).append(name)
    return list(groups.values())
