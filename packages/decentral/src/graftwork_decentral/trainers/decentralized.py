"""The ``decentralized`` trainer: any task, with agents that exchange with neighbours only.

In one process all agents are rows of one matrix; under ``torchrun`` each process has some of them, and rows
travel between neighbours. Both train the same weights, bit for bit on a CPU.
"""

from __future__ import annotations

import copy
import os
from typing import Annotated, Any, Literal

import torch
from torch import nn

from graftwork import INLINE, Choice, GraftworkError, Run, Task
from graftwork.resolution import Resolved
from graftwork_decentral.agents.bank import AgentBank
from graftwork_decentral.agents.optimizer import DecentralizedOptimizer
from graftwork_decentral.communication.communicator import Communicator
from graftwork_decentral.communication.lost import MembershipChanged
from graftwork_decentral.faults.plan import Faults
from graftwork_decentral.strategies.strategy import Strategy
from graftwork_decentral.topology.topology import GraphSequence
from graftwork_decentral.trainers.checkpoints import AgentCheckpoints
from graftwork_decentral.trainers.connecting import connect, outlives_processes
from graftwork_decentral.trainers.procedure import DecentralizedProcedure


class DecentralizedTrainer:
    """Agents with their own share of the data and weights of their own, brought together by a strategy.

    Args:
        optimizer: the recipe's ``[optimizer]`` section, the local move of every agent.
        topology: the recipe's ``[topology]`` section: who exchanges with whom.
        strategy: the recipe's ``[strategy]`` section: how agents are brought together.
        agents: how many; under torchrun at least the number of processes.
        communicator: none for stacked in one process and distributed in several.
        faults: the recipe's ``[faults]`` section; none for a network without.
        lazy: auto halves the mixing weights where the strategy would diverge otherwise; never refuses then.
        unsuited: what to do about a correction that the optimizer undoes: refuse or warn.
        evaluate_agents: evaluate every agent beside their mean.
        loop: what drives the steps; its options are options of the trainer.

    Raises:
        ValueError: an option is out of its range.
    """

    def __init__(
        self,
        *,
        optimizer: Choice,
        topology: Annotated[Choice, "topology"] = "ring",  # type: ignore[assignment]
        strategy: Annotated[Choice, "strategy"] = "diffusion",  # type: ignore[assignment]
        agents: int = 8,
        communicator: Annotated[Choice | None, "communicator"] = None,
        faults: Annotated[Choice | None, "faults"] = None,
        lazy: Literal["auto", "never"] = "auto",
        unsuited: Literal["refuse", "warn"] = "refuse",
        evaluate_agents: bool = True,
        loop: Annotated[Choice, "training-loop", INLINE] = "standard",  # type: ignore[assignment]
    ) -> None:
        if agents < 1:
            raise ValueError(f"agents must be at least 1, got {agents}")
        self.optimizer = optimizer
        self.topology = topology
        self.strategy = strategy
        self.agents = agents
        self.communicator = communicator
        self.faults: Faults | None = None if faults is None else faults()
        self.lazy: Literal["auto", "never"] = lazy
        self.unsuited: Literal["refuse", "warn"] = unsuited
        self.evaluate_agents = evaluate_agents
        self.loop: Any = loop()

    @property
    def steps(self) -> int:
        """Optimizer steps of every agent."""
        return int(self.loop.steps)

    @property
    def connects_itself(self) -> bool:
        """Whether processes are to go on when some are lost: torch's default process group would not."""
        return outlives_processes(self.faults)

    def fit(self, task: Task, recipe: Resolved, run: Run) -> None:
        """Train to the end, or from the newest checkpoint to the end.

        Raises:
            GraftworkError: the strategy does not go with the graph or the optimizer, the loss is not finite,
                or a checkpoint cannot be written or read.
        """
        device = self.loop.place()
        self.loop.begin()
        strategy: Strategy = self.strategy()
        asked: GraphSequence = self.topology(self.agents)
        graphs = strategy.suited(asked) if self.lazy == "auto" else asked
        communicator = connect(graphs, self.communicator, self.faults, device, strategy)
        bank = AgentBank(self._models(task, communicator, device))
        optimizer = DecentralizedOptimizer(bank, self._inner, strategy, communicator, unsuited=self.unsuited)
        run.note(
            {
                "world_size": int(os.environ.get("WORLD_SIZE", "1")),
                "parallel": f"decentralized, {self.agents} agents",
                "topology": graphs.name,
                "strategy": strategy.name,
                **({"data": dict(task.facts())} if hasattr(task, "facts") else {}),
            }
        )
        procedure = DecentralizedProcedure(
            self.loop, task, bank, optimizer, evaluate_agents=self.evaluate_agents
        )
        communicator.on_membership_change.append(_records_are_kept)
        run.checkpoints = AgentCheckpoints(run.checkpoints, communicator, apart=self.connects_itself)
        try:
            self.loop.train(procedure, run)
        finally:
            communicator.close()

    def _models(self, task: Task, communicator: Communicator, device: torch.device) -> list[nn.Module]:
        """One model an agent, all with the same weights: so no agent has to tell the others its own."""
        first: nn.Module = task.build_model().to(device)
        return [first, *(copy.deepcopy(first) for _ in communicator.rows[1:])]

    def _inner(self, model: nn.Module) -> torch.optim.Optimizer:
        optimizer: Any = self.optimizer.for_model(model, total_steps=self.steps, data_parallel="none")
        if hasattr(optimizer, "attach"):
            optimizer.attach(model)
        if getattr(optimizer, "data_parallel", None) in ("average", "probes"):
            raise GraftworkError(
                "optimizer.data_parallel must be 'none' with trainer 'decentralized': agents share nothing "
                "but what the strategy mixes"
            )
        return optimizer  # type: ignore[no-any-return]


def _records_are_kept(change: MembershipChanged) -> None:
    if 0 in change.lost:
        raise GraftworkError(
            "process 0, which writes the metrics and the result of this run, is lost; what the others "
            "trained is in their checkpoints: go on with `graftwork train --resume`, started as before"
        )
