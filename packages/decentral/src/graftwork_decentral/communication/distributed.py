"""Agents in several processes, each with one or more: rows travel point to point between neighbours.

On ``torch.distributed``, with gloo or NCCL. No collective takes part in a round, so that a process waits for
its neighbours alone. A neighbour that does not answer ends the run with :class:`~.lost.AgentsLostError`; with
a :class:`~.membership.Membership` those who are left go on.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from graftwork import GraftworkError
from graftwork_decentral.communication.communicator import Communicator, MixingPath
from graftwork_decentral.communication.layout import agents_of, owners
from graftwork_decentral.communication.links import Links, Message
from graftwork_decentral.communication.lost import AgentsLostError, MembershipChanged
from graftwork_decentral.communication.membership import LostPeer, Membership, View, same_for_all
from graftwork_decentral.communication.routes import Route, routes_of
from graftwork_decentral.communication.store import bounded
from graftwork_decentral.communication.survivors import Survivors
from graftwork_decentral.topology.topology import GraphSequence, Topology

T = TypeVar("T")

# With the round that failed it is less than what a run may take to end.
_STORE_ANSWERS_WITHIN_SECONDS = 2.0


class DistributedCommunicator(Communicator):
    """Mixes across processes.

    Args:
        graphs: who exchanges with whom.
        path: how mixing is computed.
        device: of the tensors, that of the process group's backend.
        group: a process group; the default one unless given. Not with ``membership``, which makes its own.
        membership: who takes part; those who are left then go on when others are lost. None stops instead.
        timeout_seconds: of one round; that of ``membership`` where there is one.
        admit_every: after how many steps those who came back are looked for.

    Raises:
        GraftworkError: there is no process group, there are more processes than agents, or another process
            has other graphs.
    """

    def __init__(
        self,
        graphs: GraphSequence,
        *,
        path: MixingPath = "differences",
        device: torch.device | str = "cpu",
        group: dist.ProcessGroup | None = None,
        membership: Membership | None = None,
        timeout_seconds: float = 300.0,
        admit_every: int = 20,
    ) -> None:
        if membership is None and not dist.is_initialized():
            raise GraftworkError(
                "communicator 'distributed' needs several processes; start them with torchrun or "
                "python -m graftwork_decentral.launch, or take 'stacked'"
            )
        if admit_every < 1:
            raise ValueError(f"admit_every must be at least 1, got {admit_every}")
        self.process = membership.process if membership else dist.get_rank(group)
        self.processes = membership.processes if membership else dist.get_world_size(group)
        try:
            rows = agents_of(self.process, self.processes, graphs.agents)
        except ValueError as error:
            raise GraftworkError(f"topology {graphs.name!r}: {error}") from error
        super().__init__(graphs, rows, path, torch.device(device))
        self.admit_every = admit_every
        self._owner = owners(self.processes, graphs.agents)
        self._routes: OrderedDict[str, tuple[tuple[Route, ...], Topology]] = OrderedDict()
        self._all_graphs = graphs
        self._membership = membership
        self._step = self._admitted = 0
        self._forming = False
        self._begins: MembershipChanged | None = None
        mine = f"{graphs.name} {graphs.agents} {graphs.digest}"
        if membership is None:
            self._view = View(0, tuple(range(self.processes)))
            registered = group if group is not None else dist.distributed_c10d._get_default_group()
            self._links: Links | None = Links(registered, self._view.members, timeout_seconds)
            self._store = dist.distributed_c10d._get_process_group_store(registered)
            all_of_them: list[str] = [""] * self.processes
            dist.all_gather_object(all_of_them, mine, group=group)
            same_for_all(mine, all_of_them)
        elif membership.came_back:
            self._view, self._links = membership.rejoin(mine), None
        else:
            self._view = membership.first(mine)
            try:
                self._links = self._linked(membership)
            except LostPeer as lost:
                raise GraftworkError(f"the connections could not be made: {lost.cause}") from lost

    @property
    def living(self) -> tuple[int, ...]:
        return tuple(agent for agent, owner in enumerate(self._owner) if owner in self._view.members)

    @property
    def joins(self) -> bool:
        return self._links is None

    def on(self, graphs: GraphSequence) -> Communicator:
        if self._membership is not None and graphs.digest != self.graphs.digest:
            raise GraftworkError(
                f"some variables are to be mixed on {graphs.name!r} and others on {self.graphs.name!r}, and "
                "who takes part is only kept up to date for one; use one topology for all, or no membership"
            )
        return super().on(graphs)

    def is_common(self, digest: str) -> bool:
        # Who comes back would wait for an answer that the others gave long ago.
        return self._membership is not None or super().is_common(digest)

    def start(self, step: int) -> int:
        if self._links is None:
            return self._form(self._view).step
        if self._begins is None:
            return step
        change, self._begins = self._begins, None
        try:
            for repair in self.on_membership_change:
                repair(change)
        except MembershipChanged as another:
            raise GraftworkError(f"before all had begun, {another}; start again") from another
        self._step = self._admitted = change.step
        return change.step

    def bring_in(self, behind: Collection[int], step: int) -> None:
        self._begins = MembershipChanged((), sorted(behind), step)

    def reached(self, step: int) -> None:
        self._step = step

    def known(self, payloads: Mapping[str, Tensor], topology: Topology, step: int) -> dict[str, Tensor]:
        self._step = step
        if self._membership is not None and step % self.admit_every == 0 and step > self._admitted:
            self._admit(step)
        return self._guarded(lambda: super(DistributedCommunicator, self).known(payloads, topology, step))

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
        return self._guarded(lambda: self._working().sum(value))

    def close(self, *, together: bool = True) -> None:
        """Let go of what was opened."""
        if self._membership is not None and self._links is not None:
            # Who is gone now had its last rounds, and nobody waits for this process.
            with suppress(LostPeer, GraftworkError):
                # Only where all are: gloo aborts a process to which another sends what it does not expect.
                if together:
                    self._links.sum(torch.zeros(1))
                    self._membership.finish()
            self._membership.close()
            self._links.close()

    def _linked(self, membership: Membership) -> Links:
        return Links(membership.group(self._view), self._view.members, membership.timeout_seconds)

    def _working(self) -> Links:
        if self._links is None:
            raise GraftworkError("a process that came back must call start() before it exchanges")
        return self._links

    def _guarded(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except LostPeer as lost:
            if self._forming:
                raise
            if self._membership is None:
                raise self._stopped(lost) from lost
            raise self._changed() from lost

    def _admit(self, step: int) -> None:
        assert self._membership is not None
        self._step = self._admitted = step
        try:
            if not self._membership.admits(self._view, step):
                return
        except LostPeer as lost:
            raise self._changed() from lost
        raise self._changed()

    def _changed(self) -> MembershipChanged:
        """End this epoch and go over to the next."""
        assert self._membership is not None
        self._working().close()
        self._links = None
        return self._form(self._membership.next(self._view, self._step))

    def _form(self, view: View) -> MembershipChanged:
        """Connect an epoch's members and mend their state; go on to a further epoch where that fails."""
        assert self._membership is not None
        while True:
            present = {agent for agent, owner in enumerate(self._owner) if owner in view.members}
            lost = [agent for agent in range(self.agents) if agent not in present]
            before = set(self.living)
            self._view = view
            self._forming = True
            try:
                # Refused on every process alike, before anything has been sent.
                self.graphs = Survivors(self._all_graphs, lost) if lost else self._all_graphs
                self._links = self._linked(self._membership)
                change = MembershipChanged(
                    sorted((before - present) | set(self._agents(view.lost))),
                    self._agents(view.joined),
                    view.step,
                )
                for repair in self.on_membership_change:
                    repair(change)
                self._membership.established(view)
                self._step = self._admitted = view.step
                return change
            except LostPeer:
                if self._links is not None:
                    self._links.close()
                    self._links = None
                view = self._membership.next(view, view.step)
            finally:
                self._forming = False

    def _agents(self, processes: Sequence[int]) -> list[int]:
        return [agent for agent, owner in enumerate(self._owner) if owner in processes]

    def _stopped(self, lost: LostPeer) -> GraftworkError:
        """Say who is lost, and tell those who will find this process gone."""
        links = self._working()
        known: set[int] = set() if lost.process is None else {lost.process}

        def told_and_followed() -> set[int]:
            self._store.set(f"lost/{self.process}", json.dumps(sorted(known)))
            return self._followed(known)

        # Where the store's host is the one that is lost, the direct neighbour is still named.
        with suppress(RuntimeError, TimeoutError, dist.DistError):
            known = bounded(told_and_followed, _STORE_ANSWERS_WITHIN_SECONDS)
        links.close()
        cause = lost.cause.split("] ")[-1]
        if not known:
            # A sum of all fails without a word of who it was: whoever called may know how to ask.
            return GraftworkError(f"some agents do not answer at step {self._step} ({cause})")
        return AgentsLostError(self._agents(sorted(known)), sorted(known), self._step, cause)

    def _followed(self, lost: set[int]) -> set[int]:
        """Those who only gave up because others did, replaced by these others."""
        seen = set(lost)
        while reported := [one for one in lost if self._store.check([f"lost/{one}"])]:
            for one in reported:
                further = set(json.loads(self._store.get(f"lost/{one}"))) - seen
                lost = (lost - {one}) | further
                seen |= further
        return lost or seen

    def _swap(self, known: Sequence[Tensor], routes: Sequence[Route]) -> None:
        """One message each way with every peer: own rows lie first in ``known``, received ones are put
        behind."""
        widths = [value[0].numel() for value in known]
        messages, arriving = [], []
        first = len(self.rows)
        for route in routes:
            leaving = landing = None
            if route.sends:
                leaving = self._leaving(known, route.sends)
                self.traffic.wire_bytes += leaving.nbytes
            if route.receives:
                last = first + len(route.receives)
                # A single tensor is received where it is to be.
                landing = (
                    known[0][first:last]
                    if len(known) == 1
                    else known[0].new_empty(len(route.receives), sum(widths))
                )
                arriving.append((first, last, landing))
                first = last
            messages.append(Message(route.peer, leaving, landing))
        self._working().swap(messages)
        if len(known) > 1:
            for first, last, rows in arriving:
                for value, part in zip(known, torch.split(rows, widths, dim=1), strict=True):
                    value[first:last] = part.reshape(len(rows), *value.shape[1:])

    def _leaving(self, known: Sequence[Tensor], agents: Sequence[int]) -> Tensor:
        first, last = agents[0] - self.rows.start, agents[-1] - self.rows.start + 1
        if len(known) == 1 and last - first == len(agents):
            return known[0][first:last]
        here = [agent - self.rows.start for agent in agents]
        return torch.cat([value[here].flatten(1) for value in known], dim=1)

    def _routes_of(self, topology: Topology) -> tuple[Route, ...]:
        return self._kept(self._routes, topology, lambda: routes_of(self.process, self._owner, topology))


def _by_dtype(payloads: Mapping[str, Tensor]) -> list[list[str]]:
    groups: dict[torch.dtype, list[str]] = {}
    for name, value in payloads.items():
        groups.setdefault(value.dtype, []).append(name)
    return list(groups.values())
