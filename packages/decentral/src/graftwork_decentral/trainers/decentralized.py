"""The ``decentralized`` trainer: any task, with agents that exchange with neighbours only.

In one process all agents are rows of one matrix; under ``torchrun`` each process has some of them, and rows
travel between neighbours. Both train the same weights, bit for bit on a CPU.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import nn

from graftwork import Choice, GraftworkError, Task
from graftwork.resolution import Resolved
from graftwork_decentral.agents.optimizer import Unsuited
from graftwork_decentral.communication.lost import MembershipChanged
from graftwork_decentral.strategies.strategy import Lazy, Strategy
from graftwork_decentral.topology.topology import GraphSequence
from graftwork_decentral.trainers.agent_metrics import recorded_over_agents
from graftwork_decentral.trainers.checkpoints import AgentCheckpoints, ApartCheckpoints
from graftwork_decentral.trainers.decentralized_procedure import DecentralizedProcedure
from graftwork_decentral.trainers.making_agents import agents_from, local_optimizer
from graftwork_decentral.trainers.network import Network, chosen, processes
from graftwork_trainer.data.opening import open_stream
from graftwork_trainer.device import choose_device
from graftwork_trainer.length import total_steps
from graftwork_trainer.loop import drive
from graftwork_trainer.options import GradientOptions
from graftwork_trainer.random_state import RandomState
from graftwork_trainer.run_directory import RunDirectory
from graftwork_trainer.task_members import decay_of, directions_of, facts_of, model_of, rates_of
from graftwork_trainer.weights import start_model


class DecentralizedTrainer:
    """Agents with their own share of the data and weights of their own, brought together by a strategy.

    Args:
        optimizer: the recipe's ``[optimizer]`` section, the local move of every agent.
        strategy: the recipe's ``[strategy]`` section: how agents are brought together.
        lazy: auto halves the mixing weights where the strategy would diverge otherwise; never refuses then.
        unsuited: what to do about a correction that the optimizer undoes: refuse or warn.
        network: who trains, and who exchanges with whom.
        loop: what every training by gradients has.

    Raises:
        ValueError: an option is out of its range.
    """

    def __init__(
        self,
        *,
        optimizer: Choice,
        strategy: Annotated[Choice | str, "strategy"] = "diffusion",
        lazy: Lazy = "auto",
        unsuited: Unsuited = "refuse",
        network: Network = Network(),
        loop: GradientOptions = GradientOptions(),
    ) -> None:
        self.optimizer, self.strategy = optimizer, strategy
        self.lazy: Lazy = lazy
        self.unsuited: Unsuited = unsuited
        self.network, self.loop = network, loop
        self.connects_itself = network.outlives_processes
        """Whether processes are to go on when some are lost: torch's default process group would not."""

    @property
    def workers(self) -> int:
        """Who share the data."""
        return self.network.agents

    def total_steps(self, task: Task) -> int | None:
        """Optimizer steps of every agent; None where the time alone ends training.

        Raises:
            GraftworkError: nobody knows how many steps make an epoch.
        """
        return total_steps(self.loop, task, self.network.agents)

    def fit(self, task: Task, recipe: Resolved, run: RunDirectory) -> nn.Module:
        """Train to the end, or from the newest checkpoint to the end; return the mean over agents.

        Raises:
            GraftworkError: the data cannot be spread over so many agents, the strategy does not go with the
                graph, the faults or the optimizer, the loss is not finite, or a checkpoint cannot be written
                or read.
        """
        device = choose_device(self.loop.device)
        self.loop.begin()
        network = self.network
        self._spread(task)
        steps = self.total_steps(task)
        strategy, graphs = self._strategy_and_graphs(steps)
        communicator = network.connect(graphs, device, self.loop.timeout_seconds, strategy)

        def inner(model: nn.Module) -> torch.optim.Optimizer:
            return local_optimizer(self.optimizer, task, model, steps)

        kind = ApartCheckpoints if self.connects_itself else AgentCheckpoints
        run.checkpoints = kind(run.checkpoints.directory, communicator)
        start = model_of(task).to(device)
        start_model(start, self.loop.start_from, task, run)
        optimizer = agents_from(start, inner, strategy, communicator, unsuited=self.unsuited)
        run.note(
            {
                "world_size": processes(),
                "parallel": f"decentralized, {network.agents} agents",
                "topology": graphs.name,
                "strategy": strategy.name,
                **decay_of(optimizer.inners[0]),
                **rates_of(optimizer.inners[0]),
                **recorded_over_agents(directions_of(task)),
                **facts_of(task),
            }
        )
        procedure = DecentralizedProcedure(
            self.loop, task, optimizer, evaluate_agents=network.evaluate_agents
        )
        communicator.on_membership_change.append(_records_are_kept)
        with communicator:
            return drive(procedure, self.loop, run)

    def _spread(self, task: Task) -> None:
        """Have the data refuse so many agents before a graph and models are made for them."""
        generators = RandomState.capture(torch.device("cpu"))
        loading = self.loop.loading(torch.device("cpu"))
        open_stream(task, loading, rank=0, world_size=self.network.agents, seed=self.loop.seed).close()
        generators.restore()

    def _strategy_and_graphs(self, steps: int | None) -> tuple[Strategy, GraphSequence]:
        strategy: Strategy = chosen("strategy", self.strategy)()
        graphs = self.network.graphs()
        if self.lazy == "auto":
            graphs = strategy.suited(graphs)
        else:
            strategy.validate(graphs)
        self.network.validate([strategy], graphs, steps)
        return strategy, graphs


def _records_are_kept(change: MembershipChanged) -> None:
    if 0 in change.lost:
        raise GraftworkError(
            "process 0, which writes the metrics and the result of this run, is lost; what the others "
            "trained is in their checkpoints: go on with `graftwork train --resume`, started as before"
        )
