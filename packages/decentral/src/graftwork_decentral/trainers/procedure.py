"""A step of the decentralized trainer: every agent's own gradients and move, then one exchange."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from graftwork import Task
from graftwork_decentral.agents.bank import AgentBank
from graftwork_decentral.agents.measures import consensus_distance, mean_model
from graftwork_decentral.agents.optimizer import DecentralizedOptimizer
from graftwork_decentral.communication.lost import MembershipChanged
from graftwork_decentral.draws import drawn_seed
from graftwork_decentral.trainers.agent_metrics import over_agents
from graftwork_decentral.trainers.outcome import StepOutcome
from graftwork_decentral.trainers.traffic import traffic_of_all

T = TypeVar("T")


class DecentralizedProcedure:
    """What the loop drives.

    Args:
        loop: of the kind ``training-loop``.
        task: gives every agent its batches, the loss and the metrics.
        bank: the models of the agents in this process.
        optimizer: over the bank.
        evaluate_agents: evaluate every agent beside their mean.
    """

    def __init__(
        self,
        loop: Any,
        task: Task,
        bank: AgentBank,
        optimizer: DecentralizedOptimizer,
        *,
        evaluate_agents: bool,
    ) -> None:
        self._loop, self._task, self._bank, self._evaluates_agents = loop, task, bank, evaluate_agents
        self.optimizer = optimizer
        self.device = bank.device
        self.unit: str = getattr(task, "unit", "samples")
        self._rows = optimizer.communicator.rows
        self.model = nn.ModuleDict(
            {f"agent-{agent:04d}": model for agent, model in zip(self._rows, bank.models, strict=True)}
        )
        self._rules = [
            loop.step_rule(task, model, inner, self.device)
            for model, inner in zip(bank.models, optimizer.inners, strict=True)
        ]
        self._averaged = bank.blank()

    def start(self, step: int) -> None:
        """Take up the data after so many steps."""
        communicator = self.optimizer.communicator
        agents = communicator.agents
        # One that came back goes on where the others are.
        self.position = self.optimizer.rounds = communicator.start(step)
        self._batches = [
            self._loop.batches(self._task, self.device, rank=agent, world_size=agents, start=self.position)
            for agent in self._rows
        ]
        self.model.train()

    @property
    def units(self) -> int:
        """Of the latest step, by all agents."""
        here: int = sum(batches.units for batches in self._batches)
        return here * self.optimizer.communicator.agents // len(self._rows)

    def step(self) -> StepOutcome:
        """Take one."""
        outcomes, closures = [], []
        for agent, rule, batches in zip(self._rows, self._rules, self._batches, strict=True):
            # Dropout depends on the agent and the step alone, not on which agents share a process.
            torch.manual_seed(drawn_seed(self._loop.seed, self.position, agent))
            micro_batches = batches.next_step()
            closure = rule.closure(micro_batches)
            if closure is None:
                outcomes.append(rule.gradients(micro_batches))
            else:
                closures.append(closure)
        if closures:
            with ExitStack() as modes:
                for one in closures:
                    modes.enter_context(one.mode())
                returned = self.optimizer.step(closures)
            values = returned if isinstance(returned, list) else [returned]
            outcomes = [one.outcome(value) for one, value in zip(closures, values, strict=True)]
        else:
            self.optimizer.step()
        self.position = self.optimizer.rounds
        norms = [outcome.gradient_norm for outcome in outcomes if outcome.gradient_norm is not None]
        return StepOutcome(
            torch.stack([outcome.loss.detach() for outcome in outcomes]).mean(),
            torch.stack(norms).max() if norms else None,
            outcomes[0].metrics,
        )

    def mean(self, value: Tensor) -> Tensor:
        """Over all agents, of what is a mean over the agents of each process."""
        communicator = self.optimizer.communicator
        return self._together(
            lambda: communicator.sum(value * len(self._rows)) / len(communicator.living), otherwise=value
        )

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """The metrics of the mean over agents, and of agents: their mean, and the worst of them."""
        self.optimizer.eval()
        communicator = self.optimizer.communicator
        own = [self._metrics_of(model) for model in self._bank.models] if self._evaluates_agents else []

        def of_all() -> dict[str, float]:
            metrics = self._metrics_of(mean_model(self._bank, communicator, self._averaged))
            return metrics | (over_agents(own, communicator) if own else {})

        metrics = self._together(of_all, otherwise=own[0] if own else self._metrics_of(self._bank.models[0]))
        self.optimizer.train()
        self.model.train()
        return metrics

    def measurements(self) -> dict[str, float]:
        """How far agents are apart, and what they have sent so far."""
        communicator = self.optimizer.communicator

        def of_all() -> dict[str, float]:
            distance = consensus_distance(self._bank, communicator)
            return {"consensus_distance": distance, **traffic_of_all(communicator)}

        nothing: dict[str, float] = {}
        living = {"living_agents": float(len(communicator.living))}
        return self._together(of_all, otherwise=nothing) | living

    def result(self) -> dict[str, Any]:
        """Further facts for ``result.json``."""
        each = sum(parameter.numel() for parameter in self._bank.models[0].parameters())
        return {
            "agents": self.optimizer.communicator.agents,
            "parameters": each,
            "communication": self.measurements(),
        }

    def _together(self, measure: Callable[[], T], *, otherwise: T) -> T:
        """Measure over all agents; or give up, like all others, where membership changes meanwhile."""
        # So told, those who lag behind go on with the step that is next here.
        self.optimizer.communicator.reached(self.position)
        try:
            return measure()
        except MembershipChanged as change:
            self.optimizer.rounds = max(self.optimizer.rounds, change.step)
            return otherwise

    def _metrics_of(self, model: nn.Module) -> dict[str, float]:
        with self._loop.autocast(self.device):
            return {name: float(value) for name, value in self._task.evaluate(model).items()}
