"""Training of a study's agents: in one process, as the trainer ``decentralized`` takes its steps."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from graftwork import Choice, Task
from graftwork_decentral.agents.optimizer import DecentralizedOptimizer, Unsuited
from graftwork_decentral.communication.stacked import StackedCommunicator
from graftwork_decentral.strategies.strategy import Strategy
from graftwork_decentral.topology.topology import GraphSequence
from graftwork_decentral.trainers.decentralized_procedure import DecentralizedProcedure
from graftwork_decentral.trainers.making_agents import agents_from, local_optimizer
from graftwork_trainer.options import GradientOptions

MakeOptimizer = Callable[[nn.Module], torch.optim.Optimizer]
_CHECKED_EVERY = 50


def agents_at(
    start: nn.Module,
    task: Task,
    optimizer: Choice | MakeOptimizer,
    strategy: Strategy,
    graphs: GraphSequence,
    *,
    steps: int,
    unsuited: Unsuited,
) -> DecentralizedOptimizer:
    """Return an optimizer over agents that all start at one model.

    Args:
        start: copied for every agent.
        task: to train on.
        optimizer: of each agent.
        strategy: that brings them together.
        graphs: who exchanges with whom.
        steps: that will be taken.
        unsuited: see :class:`~graftwork_decentral.DecentralizedOptimizer`.

    Raises:
        GraftworkError: the strategy does not go with the graph or the optimizer.
    """

    def inner(model: nn.Module) -> torch.optim.Optimizer:
        if isinstance(optimizer, Choice):
            return local_optimizer(optimizer, task, model, steps)
        return optimizer(model)

    device = next(start.parameters()).device
    communicator = StackedCommunicator(graphs, path="differences", device=device)
    return agents_from(copy.deepcopy(start), inner, strategy, communicator, unsuited=unsuited)


def train(task: Task, optimizer: DecentralizedOptimizer, *, steps: int, seed: int) -> bool:
    """Train agents without clipping or schedule.

    Args:
        task: gives every agent its batches and the loss.
        optimizer: over the agents.
        steps: to take.
        seed: of batches and of what models draw.

    Returns:
        Whether all losses that were looked at were finite; training ends early where one is not.
    """
    procedure = DecentralizedProcedure(GradientOptions(seed=seed, clip_norm=None), task, optimizer)
    procedure.start(0)
    for step in range(steps):
        loss = procedure.step().loss
        looked_at = step % _CHECKED_EVERY == 0 or step == steps - 1
        if looked_at and not bool(torch.isfinite(loss)):
            return False
    return True
