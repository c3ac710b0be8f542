"""The network that agents train in: its options, and the communicator of this process that they describe."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import torch
import torch.distributed as dist

from graftwork import Choice, GraftworkError, choose
from graftwork_decentral.communication import (
    Communicator,
    DistributedCommunicator,
    Membership,
    StackedCommunicator,
    store_of_environment,
)
from graftwork_decentral.faults.plan import Faults
from graftwork_decentral.strategies.strategy import Strategy
from graftwork_decentral.topology.agreement import validate_connected
from graftwork_decentral.topology.topology import GraphSequence, TopologySequence
from graftwork_trainer.parallel import launched_by_torchrun
from graftwork_trainer.progress import tell_once
from graftwork_trainer.roll_call import exchange_seconds


@dataclass(frozen=True, kw_only=True)
class Network:
    """Agents, and how they are joined.

    Args:
        agents: how many; under torchrun at least the number of processes.
        topology: the recipe's ``[topology]`` section: who exchanges with whom.
        communicator: none for stacked in one process and distributed in several.
        faults: the recipe's ``[faults]`` section; none for a network without.
        evaluate_agents: evaluate every agent beside their mean.

    Raises:
        ValueError: there is no agent.
    """

    agents: int = 8
    topology: Annotated[Choice | str, "topology"] = "ring"
    communicator: Annotated[Choice | None, "communicator"] = None
    faults: Annotated[Choice | None, "faults"] = None
    evaluate_agents: bool = True

    def __post_init__(self) -> None:
        if self.agents < 1:
            raise ValueError(f"agents must be at least 1, got {self.agents}")

    def graphs(self) -> GraphSequence:
        """Who exchanges with whom, faults left aside.

        Raises:
            GraftworkError: there is no such graph of as many agents, or it falls apart.
        """
        topology = chosen("topology", self.topology)
        graphs: GraphSequence = topology(self.agents)
        if graphs.agents != self.agents:
            raise GraftworkError(
                f"trainer.agents is {self.agents}, and {topology.entry.component.reference} made a graph of "
                f"{graphs.agents}; they must be as many"
            )
        validate_connected(graphs)
        return graphs

    def validate(self, strategies: Iterable[Strategy], graphs: GraphSequence, steps: int | None) -> None:
        """Refuse, before anything connects, what does not go with a run of this size.

        Tells of graphs whose turn never comes.

        Args:
            strategies: that mix on the graphs.
            graphs: that they are mixed on, without faults.
            steps: of the run; None where nobody knows.

        Raises:
            GraftworkError: there are fewer agents than processes, the communicator holds all agents in one
                process and there are several, or the faults are not for these strategies, graphs or steps.
        """
        count = processes()
        if count > self.agents:
            raise GraftworkError(
                f"trainer.agents must be at least the number of processes, {count}, got {self.agents}"
            )
        if self.communicator is not None and count > 1 and self.communicator.target is StackedCommunicator:
            raise GraftworkError(
                f"communicator 'stacked' holds all agents in one process, and {count} were started, which "
                "would train them once each; take 'distributed', or start one"
            )
        turns = len(graphs.topologies) if isinstance(graphs, TopologySequence) else 1
        if steps is not None and steps < turns:
            unused = f"graph {turns} is" if steps + 1 == turns else f"graphs {steps + 1} to {turns} are"
            tell_once(
                f"topology {graphs.name!r} has {turns} graphs that take turns, and the run is of {steps} "
                f"{'step' if steps == 1 else 'steps'}: {unused} never used, and agents may not have come "
                "together"
            )
        faults = self.planned_faults
        if faults is None:
            return
        faults.validate_length(self.agents, steps)
        for strategy in strategies:
            faults.validate(strategy, graphs)

    @cached_property
    def planned_faults(self) -> Faults | None:
        """What goes wrong; None for nothing."""
        return None if self.faults is None else self.faults()

    @property
    def outlives_processes(self) -> bool:
        """Whether this process is one of several that are to go on when some are lost.

        These connect among themselves, without torch's default process group, which does not outlive a
        member.
        """
        continues = self.planned_faults is not None and self.planned_faults.on_failure == "continue"
        return continues and launched_by_torchrun()

    def connect(
        self,
        graphs: GraphSequence,
        device: torch.device,
        timeout_seconds: float,
        strategy: Strategy | None = None,
    ) -> Communicator:
        """Return the communicator of this process, with the faults asked for.

        One that was not chosen has the arithmetic that is bitwise the same in one process and in several.

        Args:
            graphs: who exchanges with whom.
            device: of the tensors.
            timeout_seconds: of a round; that of the faults where there are some.
            strategy: of the run, where there is one; faults with which it diverges are refused.

        Raises:
            GraftworkError: the strategy diverges with these faults, or the processes cannot connect.
        """
        faults = self.planned_faults
        if faults is None:
            return self._connect(graphs, device, exchange_seconds(timeout_seconds))
        if strategy is not None:
            faults.validate(strategy, graphs)
        communicator = self._connect(faults.graphs(graphs), device, faults.timeout_seconds)
        return faults.communicator(communicator, strategy)

    def _connect(self, graphs: GraphSequence, device: torch.device, limit: float) -> Communicator:
        if self.outlives_processes:
            membership = Membership(
                store_of_environment(limit), int(os.environ["RANK"]), processes(), timeout_seconds=limit
            )
            make = self.communicator or DistributedCommunicator
            outliving: Communicator = make(graphs, device=device, membership=membership)
            return outliving
        if self.communicator is not None:
            communicator: Communicator = self.communicator(graphs, device=device)
            return communicator
        if dist.is_initialized():
            return DistributedCommunicator(graphs, device=device, timeout_seconds=limit)
        return StackedCommunicator(graphs, path="differences", device=device)


def chosen(kind: str, component: Choice | str) -> Choice:
    """A component that was chosen, or is given by its name alone, as a default is."""
    return choose(kind, component) if isinstance(component, str) else component


def processes() -> int:
    """How many processes share the agents."""
    return int(os.environ.get("WORLD_SIZE", "1"))
