"""The ``bilevel`` trainer: a task's bilevel problem, by SPARKLE or another registered method.

Upper, lower and auxiliary variables of every agent are advanced together, a step each (arXiv:2411.14166).
"""

from __future__ import annotations

from typing import Annotated

from torch import nn

from graftwork import Choice, GraftworkError, Task
from graftwork.resolution import Resolved
from graftwork_decentral.bilevel.problem import BilevelSettings
from graftwork_decentral.bilevel.setup import BilevelSetup, BilevelTask
from graftwork_decentral.trainers.agent_metrics import recorded_over_agents
from graftwork_decentral.trainers.bilevel_faults import refuse_to_continue, validate_levels
from graftwork_decentral.trainers.bilevel_optimizer import BilevelOptimizer
from graftwork_decentral.trainers.bilevel_procedure import BilevelProcedure
from graftwork_decentral.trainers.checkpoints import AgentCheckpoints
from graftwork_decentral.trainers.network import Network, chosen, processes
from graftwork_trainer.device import choose_device
from graftwork_trainer.loop import drive
from graftwork_trainer.options import LoopOptions
from graftwork_trainer.run_directory import RunDirectory
from graftwork_trainer.task_members import facts_of


class BilevelTrainer:
    """Agents that solve a bilevel problem together, exchanging with neighbours only.

    Args:
        method: the recipe's ``[method]`` section.
        settings: steps and order of the method.
        network: who trains, and who exchanges with whom.
        loop: what every training has; its schedule is that of all three steps.

    Raises:
        ValueError: an option is out of its range.
        GraftworkError: agents that are left are to continue when others are lost.
    """

    def __init__(
        self,
        *,
        method: Annotated[Choice | str, "bilevel-method"] = "sparkle",
        settings: BilevelSettings = BilevelSettings(alpha=0.1, beta=0.1, gamma=0.1),
        network: Network = Network(agents=10),
        loop: LoopOptions = LoopOptions(schedule="constant"),
    ) -> None:
        if network.planned_faults is not None:
            refuse_to_continue(network.planned_faults)
        self.method, self.settings, self.network, self.loop = method, settings, network, loop

    def fit(self, task: Task, recipe: Resolved, run: RunDirectory) -> nn.Module:
        """Train to the end, or from the newest checkpoint to the end; return the means over agents of
        the variables, a ``torch.nn.ParameterDict`` of ``upper`` and ``lower``.

        Raises:
            GraftworkError: the task has no bilevel problem, a strategy does not go with the graph or the
                faults, the loss is not finite, or a checkpoint cannot be written or read.
        """
        if not isinstance(task, BilevelTask):
            raise GraftworkError(
                f"task {recipe.task.name!r} has no bilevel problem, which trainer 'bilevel' trains; choose a "
                "task that has (`graftwork list task`), or trainer 'decentralized'"
            )
        device = choose_device(self.loop.device)
        self.loop.begin()
        network = self.network
        # First: data may refuse so many agents, for which a graph would take long.
        setup: BilevelSetup = task.bilevel(network.agents)
        graphs = network.graphs()
        network.validate([], graphs, self.loop.total_steps)
        communicator = network.connect(graphs, device, self.loop.timeout_seconds)
        optimizer = BilevelOptimizer(
            setup, communicator, self.settings, chosen("bilevel-method", self.method)
        )
        if network.planned_faults is not None:
            validate_levels(network.planned_faults, optimizer.method.levels.values())
        run.note(
            {
                "world_size": processes(),
                "parallel": f"bilevel, {network.agents} agents",
                "topology": graphs.name,
                "method": optimizer.method.name,
                **recorded_over_agents(setup.directions),
                **facts_of(task),
            }
        )
        procedure = BilevelProcedure(setup, communicator, optimizer, evaluate_agents=network.evaluate_agents)
        run.checkpoints = AgentCheckpoints(run.checkpoints.directory, communicator)
        with communicator:
            return drive(procedure, self.loop, run)
