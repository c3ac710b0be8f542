"""Training of agents by a strategy, in one process, with any torch optimizer as their local move."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

from graftwork import Choice, GraftworkError, Task
from graftwork_decentral.agents.bank import AgentBank
from graftwork_decentral.agents.optimizer import DecentralizedOptimizer
from graftwork_decentral.communication.stacked import StackedCommunicator
from graftwork_decentral.draws import drawn_seed
from graftwork_decentral.flatness.study.data import on_device
from graftwork_decentral.strategies.strategy import Strategy
from graftwork_decentral.topology.topology import GraphSequence

MakeOptimizer = Callable[[nn.Module], torch.optim.Optimizer]
_CHECKED_EVERY = 50


def agents_from(
    model: nn.Module,
    optimizer: Choice | MakeOptimizer,
    strategy: Strategy,
    graphs: GraphSequence,
    *,
    steps: int,
    unsuited: Literal["refuse", "warn"] = "refuse",
) -> DecentralizedOptimizer:
    """Return an optimizer over agents that all start at one model.

    Args:
        model: copied for every agent.
        optimizer: of each agent.
        strategy: that brings them together.
        graphs: who exchanges with whom.
        steps: that will be taken; an optimizer's ``total_steps`` where the recipe left it open.
        unsuited: see :class:`~graftwork_decentral.DecentralizedOptimizer`.

    Raises:
        GraftworkError: the strategy does not go with the graph or the optimizer.
    """
    device = next(model.parameters()).device
    bank = AgentBank([copy.deepcopy(model) for _ in range(graphs.agents)])
    communicator = StackedCommunicator(graphs, path="differences", device=device)

    def inner(of_agent: nn.Module) -> torch.optim.Optimizer:
        if not isinstance(optimizer, Choice):
            return optimizer(of_agent)
        built: Any = optimizer.for_model(of_agent, total_steps=steps, data_parallel="none")
        if hasattr(built, "attach"):
            built.attach(of_agent)
        if getattr(built, "data_parallel", None) in ("average", "probes"):
            raise GraftworkError(
                "optimizer.data_parallel must be 'none' in a flatness study: agents share nothing but what "
                "the strategy mixes"
            )
        return built  # type: ignore[no-any-return]

    return DecentralizedOptimizer(bank, inner, strategy, communicator, unsuited=unsuited)


def train(task: Task, optimizer: DecentralizedOptimizer, *, steps: int, seed: int) -> bool:
    """Train the agents of an optimizer.

    Args:
        task: gives every agent its batches and the loss.
        optimizer: over the agents.
        steps: to take.
        seed: of batches and of what models draw.

    Returns:
        Whether all losses that were looked at were finite; training ends early where one is not.
    """
    bank, agents = optimizer.bank, len(optimizer.bank)
    streams = [
        iter(task.batches("train", rank=agent, world_size=agents, seed=seed)) for agent in range(agents)
    ]
    for model in bank.models:
        # As the trainer does: an optimizer that only compares losses must not compare dropout masks.
        model.train(optimizer.closure != "loss")
    for step in range(steps):
        losses, closures = [], []
        optimizer.zero_grad()
        for agent, (model, stream) in enumerate(zip(bank.models, streams, strict=True)):
            torch.manual_seed(drawn_seed(seed, step, agent))
            batch = on_device(next(stream), bank.device)
            if optimizer.closure is None:
                loss = task.loss(model, batch)[0]
                loss.backward()
                losses.append(loss.detach())
            else:
                closures.append(_closure(task, model, batch, optimizer.closure))
        if closures:
            returned = optimizer.step(closures)
            losses = [torch.as_tensor(one) for one in (returned if agents > 1 else [returned])]
        else:
            optimizer.step()
        looked_at = step % _CHECKED_EVERY == 0 or step == steps - 1
        if looked_at and not bool(torch.isfinite(torch.stack(losses)).all()):
            return False
    return True


def _closure(
    task: Task, model: nn.Module, batch: Any, kind: Literal["loss", "gradient"]
) -> Callable[[], Any]:
    @torch.no_grad()
    def loss() -> Any:
        return task.loss(model, batch)[0]

    @torch.enable_grad()
    def loss_and_gradients() -> Any:
        model.zero_grad()
        value = task.loss(model, batch)[0]
        value.backward()
        return value.detach()

    return loss if kind == "loss" else loss_and_gradients
