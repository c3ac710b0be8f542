"""A step of the bilevel trainer: three batches, and the method's step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from graftwork_decentral.bilevel.problem import Batch
from graftwork_decentral.bilevel.setup import BilevelSetup
from graftwork_decentral.communication.communicator import Communicator
from graftwork_decentral.trainers.agent_metrics import over_agents
from graftwork_decentral.trainers.bilevel_batches import BatchMover
from graftwork_decentral.trainers.bilevel_optimizer import BilevelOptimizer
from graftwork_decentral.trainers.outcome import StepOutcome
from graftwork_decentral.trainers.traffic import traffic_of_all


class BilevelProcedure:
    """What the loop drives.

    Args:
        setup: the problem, its batches and its metrics.
        communicator: which agents are here, and how they exchange.
        optimizer: takes the steps.
        evaluate_agents: evaluate every agent beside their mean.
    """

    def __init__(
        self,
        setup: BilevelSetup,
        communicator: Communicator,
        optimizer: BilevelOptimizer,
        *,
        evaluate_agents: bool,
    ) -> None:
        self._setup, self._communicator, self._evaluates_agents = setup, communicator, evaluate_agents
        self.optimizer = optimizer
        self.model: nn.Module = optimizer.module
        self.device = communicator.device
        self._to_device = BatchMover(communicator.device)
        self.unit = setup.unit
        self.units = int(setup.units_per_step)

    def start(self, step: int) -> None:
        """Take up the data after so many steps."""
        self.position = step

    def step(self) -> StepOutcome:
        """Take one."""
        batches = self._to_device(self._setup.batches(self.position, list(self._communicator.rows)))
        loss = self._upper_loss(batches[2])
        self.optimizer.step(batches)
        self.position += 1
        return StepOutcome(loss)

    def mean(self, value: Tensor) -> Tensor:
        """Over all agents, of what is a mean over the agents of each process."""
        return self._communicator.sum(value * len(self._communicator.rows)) / self._communicator.agents

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """The metrics of the mean over agents, and of agents: their mean, and the worst of them."""
        method, communicator = self.optimizer.method, self._communicator
        metrics = self._metrics_of(communicator.mean(method.upper), communicator.mean(method.lower))
        if self._evaluates_agents:
            own = [self._metrics_of(x, y) for x, y in zip(method.upper, method.lower, strict=True)]
            metrics |= over_agents(own, communicator)
        return metrics

    def measurements(self) -> dict[str, float]:
        """How far agents are apart at each level, and what they have sent so far."""
        communicator = self._communicator
        distances = {}
        for name, level in self.optimizer.method.levels.items():
            spread = (level.point - communicator.mean(level.point)).double().square().sum()
            distances[f"consensus_distance_{name}"] = float(
                (communicator.sum(spread) / communicator.agents).sqrt()
            )
        return distances | traffic_of_all(communicator)

    def result(self) -> dict[str, Any]:
        """Further facts for ``result.json``."""
        problem = self._setup.problem
        return {
            "agents": self._communicator.agents,
            "parameters": problem.upper_variables + problem.lower_variables,
            "communication": self.measurements(),
        }

    def _metrics_of(self, x: Tensor, y: Tensor) -> dict[str, float]:
        return {name: float(value) for name, value in self._setup.evaluate(x, y).items()}

    @torch.no_grad()
    def _upper_loss(self, batch: Batch) -> Tensor:
        """Mean upper loss of the agents here, each at its own variables, before the step."""
        method, problem = self.optimizer.method, self._setup.problem
        losses: Tensor = torch.func.vmap(problem.upper_loss)(method.upper, method.lower, batch)
        return losses.mean()
