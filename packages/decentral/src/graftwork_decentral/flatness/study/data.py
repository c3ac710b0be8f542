"""The functions that a study measures: J_k of every agent, and their mean J, on batches that never change.

J_k is the mean of a task's loss over a few training batches of agent k; where a task hands out an agent's
whole part when asked for a large batch, J_k is exact. The batches are the same for all runs of a study.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from graftwork import Task
from graftwork_decentral.flatness.metrics import Objective, flat_objective
from graftwork_trainer.device import move

_MEASURED_STREAM = 2_000_000
_NOISE_STREAM = 3_000_000


class MeasuringData:
    """Fixed training batches of every agent.

    Args:
        task: with the batch size to measure with.
        agents: how many.
        batches: of each agent.
        device: where they are kept.
    """

    def __init__(self, task: Task, agents: int, batches: int, device: torch.device) -> None:
        self._task = task
        self._batches = []
        for agent in range(agents):
            stream = task.batches("train", rank=agent, world_size=agents, seed=_MEASURED_STREAM)
            self._batches.append([move(batch, device) for batch in islice(stream, batches)])

    @property
    def agents(self) -> int:
        """How many."""
        return len(self._batches)

    @torch.no_grad()
    def loss(self, model: nn.Module) -> float:
        """Return J at a model, which is put in evaluation mode."""
        model.eval()
        return float(torch.stack([self._mean(model, own) for own in self._batches]).double().mean())

    def objective(self, model: nn.Module) -> Objective:
        """Return J as a function of the trainable parameters of a model in evaluation mode."""
        return flat_objective(model.eval(), self._mean_over_agents, self._batches)

    def local_objectives(self, model: nn.Module) -> list[Objective]:
        """Return J_k of every agent."""
        return [flat_objective(model.eval(), self._mean, own) for own in self._batches]

    def _mean(self, model: nn.Module, batches: Sequence[Any]) -> Tensor:
        return torch.stack([self._task.loss(model, batch)[0] for batch in batches]).mean()

    def _mean_over_agents(self, model: nn.Module, batches: Sequence[Sequence[Any]]) -> Tensor:
        return torch.stack([self._mean(model, own) for own in batches]).mean()


def noise_objectives(
    task: Task, model: nn.Module, agent: int, agents: int, draws: int, device: torch.device
) -> list[Objective]:
    """Return the losses of independent training batches of one agent.

    Every batch is the first of a stream of its own: later batches of one epoch leave out what was drawn
    before, and would not be independent.

    Args:
        task: with the batch size that is trained with.
        model: in evaluation mode.
        agent: whose batches.
        agents: how many there are.
        draws: batches to take.
        device: of the model.
    """
    objectives = []
    for draw in range(draws):
        stream = task.batches("train", rank=agent, world_size=agents, seed=_NOISE_STREAM + draw)
        batch = move(next(iter(stream)), device)
        objectives.append(flat_objective(model, task.loss, batch))
    return objectives
