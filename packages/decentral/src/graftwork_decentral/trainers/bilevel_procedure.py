"""A step of the bilevel trainer: three batches, and the method's step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from graftwork_decentral.agents.measures import distance_from_mean
from graftwork_decentral.bilevel.oracles import Oracles
from graftwork_decentral.bilevel.setup import BilevelSetup
from graftwork_decentral.communication.communicator import Communicator
from graftwork_decentral.trainers.agent_metrics import directions_over_agents, mean_and_worst
from graftwork_decentral.trainers.bilevel_optimizer import BilevelOptimizer
from graftwork_decentral.trainers.moved_once import MovedOnce
from graftwork_decentral.trainers.network_state import network_state, restore_network
from graftwork_trainer.procedure import Procedure, StepOutcome


class BilevelProcedure(Procedure):
    """The variables of the agents in this process, and their batches.

    Args:
        setup: the problem, its batches and its metrics.
        communicator: which agents are here, and how they exchange.
        optimizer: takes the steps.
        evaluate_agents: evaluate every agent beside their mean.
    """

    optimizer: BilevelOptimizer
    evaluates_others = True

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
        self.model = optimizer.module
        self.directions = directions_over_agents(setup.directions)
        self.device = communicator.device
        self._oracles = Oracles(setup.problem, vectorize=optimizer.settings.vectorize)
        self._to_device = MovedOnce(communicator.device)
        self.unit = setup.unit
        self.units = int(setup.units_per_step)

    def state(self) -> dict[str, Any]:
        """What the network remembers."""
        return network_state(self._communicator)

    def restore(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Take it up; batches follow from the step alone."""
        restore_network(self._communicator, states)

    def start(self, step: int) -> None:
        """Take up the data after so many steps."""
        self.position = step

    def step(self) -> StepOutcome:
        """Take one; the loss is the upper one, of each agent here at its own variables, before the step."""
        method = self.optimizer.method
        batches = self._to_device(self._setup.batches(self.position, list(self._communicator.rows)))
        loss = self._oracles.upper_losses(method.upper, method.lower, batches[2]).mean()
        self.optimizer.step(batches)
        self.position += 1
        return StepOutcome(loss)

    def mean(self, value: Tensor) -> Tensor:
        """Over all agents, of what is a mean over the agents of each process."""
        return self._communicator.mean(value.expand(len(self._communicator.rows)))

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """The metrics of the mean over agents, and of agents: their mean, and the worst of them."""
        method, communicator = self.optimizer.method, self._communicator
        metrics = self._metrics_of(communicator.mean(method.upper), communicator.mean(method.lower))
        if self._evaluates_agents:
            own = [self._metrics_of(x, y) for x, y in zip(method.upper, method.lower, strict=True)]
            metrics |= mean_and_worst(own, communicator, self._setup.directions)
        return metrics

    @torch.no_grad()
    def evaluated_model(self) -> nn.Module:
        """The means over agents of the ``upper`` and the ``lower`` variables."""
        method = self.optimizer.method
        points = {"upper": method.upper, "lower": method.lower}
        return nn.ParameterDict(
            {name: nn.Parameter(self._communicator.mean(point)) for name, point in points.items()}
        )

    def measurements(self) -> dict[str, float]:
        """How far agents are apart at each level, and what they have sent so far."""
        distances = {
            f"consensus_distance_{name}": distance_from_mean([level.point], self._communicator)
            for name, level in self.optimizer.method.levels.items()
        }
        return distances | self._communicator.traffic_of_all()

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
