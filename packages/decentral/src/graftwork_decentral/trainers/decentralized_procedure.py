"""A step of the decentralized trainer: every agent's own gradients and move, then one exchange."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from graftwork import Task
from graftwork_decentral.agents.measures import distance_from_mean, mean_model
from graftwork_decentral.agents.optimizer import DecentralizedOptimizer
from graftwork_decentral.communication.lost import MembershipChanged
from graftwork_decentral.draws import bits
from graftwork_decentral.trainers.agent_metrics import directions_over_agents, mean_and_worst
from graftwork_decentral.trainers.making_agents import by_agent
from graftwork_decentral.trainers.network_state import network_state, restore_network
from graftwork_trainer.data.batches import StepBatches
from graftwork_trainer.evaluation import evaluate, evaluation_mode
from graftwork_trainer.length import Length, length_by_epochs
from graftwork_trainer.options import GradientOptions, LoopOptions
from graftwork_trainer.parallel import World
from graftwork_trainer.procedure import Procedure, StepOutcome
from graftwork_trainer.step_rule import StepRule
from graftwork_trainer.task_members import directions_of, unit_of
from graftwork_trainer.timing import state_bytes

T = TypeVar("T")


class DecentralizedProcedure(Procedure):
    """The agents of this process, their data and their optimizers.

    Args:
        options: of the training.
        task: gives every agent its batches, the loss and the metrics.
        optimizer: over the agents.
        evaluate_agents: evaluate every agent beside their mean.
    """

    optimizer: DecentralizedOptimizer
    evaluates_others = True

    def __init__(
        self,
        options: GradientOptions,
        task: Task,
        optimizer: DecentralizedOptimizer,
        *,
        evaluate_agents: bool = True,
    ) -> None:
        self._options, self._task, self._evaluates_agents = options, task, evaluate_agents
        self._bank, self._communicator = optimizer.bank, optimizer.communicator
        self._rows = self._communicator.rows
        self._averaged = self._bank.blank()
        self.optimizer = optimizer
        self.model = by_agent(self._rows, self._bank.models)
        self.directions = directions_over_agents(directions_of(task))
        self.device = self._bank.device
        self.unit = unit_of(task)
        alone = World.alone(self.device)
        self._rules = [
            StepRule(task, model, inner, alone, options)
            for model, inner in zip(self._bank.models, optimizer.inners, strict=True)
        ]
        self._places: dict[str, Mapping[str, Any]] = {}

    def state(self) -> dict[str, Any]:
        """What the network remembers, and how far agents are in their data."""
        places = {
            str(agent): batches.state() for agent, batches in zip(self._rows, self._batches, strict=True)
        }
        inexact = next((place["inexact"] for place in places.values()), None)
        return {**network_state(self._communicator), "places": places, "inexact": inexact}

    def restore(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Take up the network's memory and the places in the data, whatever makes a step now."""
        restore_network(self._communicator, states)
        for state in states:
            self._places.update(state["places"])

    def start(self, step: int) -> None:
        """Take up the data after so many steps."""
        # One that came back goes on where the others are.
        self.position = self.optimizer.rounds = self._communicator.start(step)
        missed = (self.position - step) * self._options.accumulate
        # Of an agent that was lost nothing was saved; the others had drawn as many.
        drawn = max((place["micro_batches"] for place in self._places.values()), default=0)
        self._batches = [
            StepBatches(
                self._task,
                self._options,
                self.device,
                rank=agent,
                world_size=self._communicator.agents,
                state=place,
                behind=missed if place else missed + drawn,
            )
            for agent in self._rows
            for place in [self._places.get(str(agent))]
        ]
        self.model.train()

    def length(self, options: LoopOptions) -> Length:
        """In steps, or in epochs of the data of all agents."""
        epochs = self._options.epochs
        if epochs is None:
            return super().length(options)
        return length_by_epochs(epochs, self._batches[0], self.position)

    def step(self) -> StepOutcome:
        """Take one; the loss is the mean over the agents here, the norm the largest of theirs."""
        # Dropout depends on the agent and the step alone, not on which agents share a process.
        seeds = bits(self._options.seed, self.position, self._rows).tolist()
        outcomes, closures = [], []
        for seed, rule, batches in zip(seeds, self._rules, self._batches, strict=True):
            torch.manual_seed(seed)
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
        here = sum(batches.units for batches in self._batches)
        self.units = here * self._communicator.agents // len(self._rows)
        norms = [outcome.gradient_norm for outcome in outcomes if outcome.gradient_norm is not None]
        return StepOutcome(
            torch.stack([outcome.loss.detach() for outcome in outcomes]).mean(),
            torch.stack(norms).max() if norms else None,
            outcomes[0].metrics,
        )

    def mean(self, value: Tensor) -> Tensor:
        """Over all agents, of what is a mean over the agents of each process."""
        rows = value.expand(len(self._rows))
        return self._together(lambda: self._communicator.mean(rows), otherwise=lambda: value)

    def evaluate(self) -> dict[str, float]:
        """The metrics of the mean over agents, and of agents: their mean, and the worst of them."""
        models = self._bank.models if self._evaluates_agents else ()
        own = [self._metrics_of(model) for model in models]

        def of_all() -> dict[str, float]:
            metrics = self._metrics_of(self._mean_model())
            if own:
                metrics |= mean_and_worst(own, self._communicator, directions_of(self._task))
            return metrics

        return self._together(
            of_all, otherwise=lambda: own[0] if own else self._metrics_of(self._bank.models[0])
        )

    def to_evaluated(self) -> None:
        """Have optimizers that train at other weights than those they stand for put the latter in place."""
        self.optimizer.eval()

    def to_trained(self) -> None:
        """Have them put those back that they train at."""
        self.optimizer.train()

    def evaluated_model(self) -> nn.Module:
        """The mean over agents."""
        return self._together(self._mean_model, otherwise=lambda: self._bank.models[0])

    def artefacts(self, model: nn.Module, folder: Path) -> None:
        """Let the task write what it has to show, in the process that records."""
        if self._rows.start == 0 and hasattr(self._task, "artefacts"):
            folder.mkdir(parents=True, exist_ok=True)
            with evaluation_mode(model):
                self._task.artefacts(model, folder)

    def measurements(self) -> dict[str, float]:
        """How far agents are apart, and what they have sent so far."""

        def of_all() -> dict[str, float]:
            weights = [segment.weights for segment in self._bank.segments]
            distance = distance_from_mean(weights, self._communicator)
            return {"consensus_distance": distance, **self._communicator.traffic_of_all()}

        measured = self._together(of_all, otherwise=dict[str, float])
        return measured | {"living_agents": float(len(self._communicator.living))}

    def close(self) -> None:
        """End the processes that load samples."""
        for batches in self._batches:
            batches.close()

    def result(self) -> dict[str, Any]:
        """Further facts for ``result.json``, and the strategy's tensors among the optimizer's."""
        corrections = [buffer for form in self.optimizer.forms for buffer in form.state().values()]
        return {
            "agents": self._communicator.agents,
            "parameters": sum(parameter.numel() for parameter in self._bank.models[0].parameters()),
            "communication": self.measurements(),
            "optimizer_state_bytes": state_bytes(self.optimizer) + sum(b.nbytes for b in corrections),
        }

    def _together(self, measure: Callable[[], T], *, otherwise: Callable[[], T]) -> T:
        """Measure over all agents; or give up, like all others, where membership changes meanwhile."""
        # So told, those who lag behind go on with the step that is next here.
        self._communicator.reached(self.position)
        try:
            return measure()
        except MembershipChanged as change:
            self.optimizer.rounds = max(self.optimizer.rounds, change.step)
            return otherwise()

    def _metrics_of(self, model: nn.Module) -> dict[str, float]:
        return evaluate(
            self._task,
            model,
            forward=self._options.autocast(self.device),
            loading=self._options.loading(self.device),
        )

    def _mean_model(self) -> nn.Module:
        return mean_model(self._bank, self._communicator, self._averaged)
