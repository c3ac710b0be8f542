"""The ``bilevel`` trainer: a task's bilevel problem, by SPARKLE or another registered method.

Upper, lower and auxiliary variables of every agent are advanced together, a step each (arXiv:2411.14166).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch.distributed as dist

from graftwork import INLINE, Choice, GraftworkError, Run, Task
from graftwork.resolution import Resolved
from graftwork_decentral.bilevel.problem import BilevelSettings, HessianMode, Order
from graftwork_decentral.bilevel.setup import BilevelSetup, BilevelTask
from graftwork_decentral.faults.plan import Faults
from graftwork_decentral.topology.topology import GraphSequence
from graftwork_decentral.trainers.bilevel_faults import refuse_to_continue, validate_levels
from graftwork_decentral.trainers.bilevel_optimizer import BilevelOptimizer
from graftwork_decentral.trainers.bilevel_procedure import BilevelProcedure
from graftwork_decentral.trainers.checkpoints import AgentCheckpoints
from graftwork_decentral.trainers.connecting import connect


class BilevelTrainer:
    """Agents that solve a bilevel problem together, exchanging with neighbours only.

    Args:
        method: the recipe's ``[method]`` section.
        topology: the recipe's ``[topology]`` section: who exchanges with whom.
        agents: how many; under torchrun at least the number of processes.
        alpha: step of the upper variables.
        beta: step of the lower variables.
        gamma: step of the auxiliary variables.
        theta: weight of the newest hypergradient in the moving average; 1 averages nothing.
        order: gauss_seidel takes each level at the newest values of those before it; jacobi takes all at the
            old values, and sends one message a step.
        share_batch: use one batch for all three directions: cheaper, slightly biased.
        hvp_mode: how Hessian-vector products are computed: forward over reverse, reverse over reverse, or
            forward where it exists.
        communicator: none for stacked in one process and distributed in several.
        faults: the recipe's ``[faults]`` section; none for a network without.
        evaluate_agents: evaluate every agent beside their mean.
        schedule: of all three steps after the warm-up.
        loop: what drives the steps; its options are options of the trainer.

    Raises:
        ValueError: an option is out of its range.
        GraftworkError: agents that are left are to continue when others are lost.
    """

    def __init__(
        self,
        *,
        method: Annotated[Choice, "bilevel-method"] = "sparkle",  # type: ignore[assignment]
        topology: Annotated[Choice, "topology"] = "ring",  # type: ignore[assignment]
        agents: int = 10,
        alpha: float = 0.1,
        beta: float = 0.1,
        gamma: float = 0.1,
        theta: float = 1.0,
        order: Order = "gauss_seidel",
        share_batch: bool = False,
        hvp_mode: HessianMode = "auto",
        communicator: Annotated[Choice | None, "communicator"] = None,
        faults: Annotated[Choice | None, "faults"] = None,
        evaluate_agents: bool = True,
        schedule: Literal["constant", "linear", "cosine"] = "constant",
        loop: Annotated[Choice, "training-loop", INLINE] = "bare",  # type: ignore[assignment]
    ) -> None:
        if agents < 1:
            raise ValueError(f"agents must be at least 1, got {agents}")
        self.settings = BilevelSettings(alpha, beta, gamma, theta, order, share_batch, hvp_mode)
        self.method = method
        self.topology = topology
        self.agents = agents
        self.communicator = communicator
        self.faults: Faults | None = None if faults is None else faults()
        if self.faults is not None:
            refuse_to_continue(self.faults)
        self.evaluate_agents = evaluate_agents
        self.loop: Any = loop(schedule=schedule)

    @property
    def steps(self) -> int:
        """Steps of every agent."""
        return int(self.loop.steps)

    def fit(self, task: Task, recipe: Resolved, run: Run) -> None:
        """Train to the end, or from the newest checkpoint to the end.

        Raises:
            GraftworkError: the task has no bilevel problem, a strategy does not go with the graph or the
                faults, the loss is not finite, or a checkpoint cannot be written or read.
        """
        if not isinstance(task, BilevelTask):
            raise GraftworkError(
                f"task {recipe.task.name!r} has no bilevel problem, which trainer 'bilevel' trains; choose a "
                "task that has (`graftwork list task`), or trainer 'decentralized'"
            )
        device = self.loop.place()
        self.loop.begin()
        graphs: GraphSequence = self.topology(self.agents)
        communicator = connect(graphs, self.communicator, self.faults, device)
        setup: BilevelSetup = task.bilevel(self.agents)
        optimizer = BilevelOptimizer(setup, communicator, self.settings, self.method)
        if self.faults is not None:
            validate_levels(self.faults, optimizer.method.levels.values())
        run.note(
            {
                "world_size": dist.get_world_size() if dist.is_initialized() else 1,
                "parallel": f"bilevel, {self.agents} agents",
                "topology": graphs.name,
                "method": optimizer.method.name,
                **({"data": dict(task.facts())} if hasattr(task, "facts") else {}),
            }
        )
        procedure = BilevelProcedure(setup, communicator, optimizer, evaluate_agents=self.evaluate_agents)
        run.checkpoints = AgentCheckpoints(run.checkpoints, communicator, apart=False)
        try:
            self.loop.train(procedure, run)
        finally:
            communicator.close()
