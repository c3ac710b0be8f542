"""Agents that train by a strategy: models that start alike, and each one's own optimizer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import torch
from torch import nn

from graftwork import Choice, GraftworkError, Task
from graftwork_decentral.agents.bank import AgentBank
from graftwork_decentral.agents.optimizer import DecentralizedOptimizer, Unsuited
from graftwork_decentral.communication.communicator import Communicator
from graftwork_decentral.strategies.strategy import Strategy
from graftwork_trainer.step_rule import data_parallel_of
from graftwork_trainer.task_members import parameter_groups_of


def agents_from(
    model: nn.Module,
    inner: Callable[[nn.Module], torch.optim.Optimizer],
    strategy: Strategy,
    communicator: Communicator,
    *,
    unsuited: Unsuited = "refuse",
) -> DecentralizedOptimizer:
    """Return the optimizer over agents that all start at one model: none has to tell the others its weights.

    Args:
        model: of the first agent here; copied for the others.
        inner: makes the optimizer of an agent from its model.
        strategy: that brings them together.
        communicator: says which agents are here.
        unsuited: see :class:`~graftwork_decentral.DecentralizedOptimizer`.

    Raises:
        GraftworkError: the strategy does not go with the graph or the optimizer.
    """
    bank = AgentBank([model, *(copy.deepcopy(model) for _ in communicator.rows[1:])])
    return DecentralizedOptimizer(bank, inner, strategy, communicator, unsuited=unsuited)


def local_optimizer(
    optimizer: Choice, task: Task, model: nn.Module, steps: int | None
) -> torch.optim.Optimizer:
    """Build the optimizer of one agent.

    Args:
        optimizer: as chosen for all of them.
        task: may group the parameters.
        model: the agent's.
        steps: that will be taken, None where nobody knows; an optimizer's ``total_steps`` where the recipe
            left it open.

    Raises:
        GraftworkError: it would share its work with other processes.
    """
    groups = parameter_groups_of(task, model)
    built: torch.optim.Optimizer = optimizer.for_model(model, groups, total_steps=steps, data_parallel="none")
    if hasattr(built, "attach"):
        built.attach(model)
    if data_parallel_of(built) is not None:
        raise GraftworkError(
            "optimizer.data_parallel must be 'none' for agents: they share nothing but what they mix"
        )
    return built


def by_agent(agents: Iterable[int], modules: Iterable[nn.Module]) -> nn.ModuleDict:
    """Return modules under the names that their agents have in checkpoints."""
    return nn.ModuleDict({agent_name(agent): module for agent, module in zip(agents, modules, strict=True)})


def agent_name(agent: int) -> str:
    """What an agent is called in checkpoints.

    >>> agent_name(3)
    'agent-0003'
    """
    return f"agent-{agent:04d}"
