"""A bilevel method as a ``torch.optim.Optimizer``: so that a loop schedules, saves and resumes it.

The rows of every level become parameters, one an agent and level; the step of a level is the ``lr`` of its
group. What strategies and averages hold is the parameters' state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from graftwork import Choice, GraftworkError
from graftwork_decentral.bilevel.problem import Batch, BilevelSettings
from graftwork_decentral.bilevel.setup import BilevelSetup
from graftwork_decentral.communication.communicator import Communicator
from graftwork_decentral.trainers.making_agents import by_agent

_STEPS = "steps"


class BilevelOptimizer(torch.optim.Optimizer):
    """Takes the steps of a method.

    Args:
        setup: problem and starting points.
        communicator: which agents are here, and how they exchange.
        settings: steps and order.
        method: of the kind ``bilevel-method``.
    """

    def __init__(
        self, setup: BilevelSetup, communicator: Communicator, settings: BilevelSettings, method: Choice
    ) -> None:
        self.settings = settings
        sizes: dict[str, Any] = {"upper": settings.alpha, "lower": settings.beta, "auxiliary": settings.gamma}
        self._sizes = dict(sizes)
        scheduled = replace(
            settings,
            alpha=lambda step: self._sizes["upper"],
            beta=lambda step: self._sizes["lower"],
            gamma=lambda step: self._sizes["auxiliary"],
        )
        start = (setup.upper_start.to(communicator.device), setup.lower_start.to(communicator.device))
        self.method: Any = method(setup.problem, communicator, scheduled, *start)
        self._levels = self.method.levels
        self._variables = [
            nn.ParameterDict({name: nn.Parameter(level.point[row]) for name, level in self._levels.items()})
            for row in range(len(communicator.rows))
        ]
        self.module = by_agent(communicator.rows, self._variables)
        super().__init__(
            # One for each, so that agents can be in other processes when a run is resumed.
            [
                {"params": [variables[name]], "lr": sizes[name], "level": name}
                for name in self._levels
                for variables in self._variables
            ],
            {},
        )

    @property
    def state(self) -> Any:
        """For every agent's variables of a level what the strategy and the moving average hold."""
        return {
            group["params"][0]: tensors
            for group, tensors in zip(self.param_groups, self._tensors(), strict=True)
        }

    @state.setter
    def state(self, value: Any) -> None:
        """Take nothing: torch's constructor sets an empty one, and the method keeps its own."""

    @torch.no_grad()
    def step(self, batches: Batch) -> None:  # type: ignore[override]
        """Take one step.

        Args:
            batches: of the agents here, see :meth:`BilevelSetup.batches`.
        """
        for group in self.param_groups:
            self._sizes[group["level"]] = group["lr"]
        self.method.step(batches)
        self._show()

    def state_dict(self) -> dict[str, Any]:
        """Numbered as torch numbers parameters, group by group."""
        groups = [{**group, "params": [number]} for number, group in enumerate(self.param_groups)]
        return {"state": dict(enumerate(self._tensors())), "param_groups": groups}

    @torch.no_grad()
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take up what :meth:`state_dict` gave; the variables themselves are the module's.

        Raises:
            GraftworkError: it is of another method, or of another number of agents in this process.
        """
        saved_groups, saved = state_dict["param_groups"], state_dict["state"]
        levels = [group["level"] for group in self.param_groups]
        if [group["level"] for group in saved_groups] != levels:
            raise GraftworkError(
                f"the saved state is not of {self.method.name} with {len(self._variables)} agents in this "
                "process"
            )
        for number, (group, tensors) in enumerate(zip(self.param_groups, self._tensors(), strict=True)):
            group.update({name: value for name, value in saved_groups[number].items() if name != "params"})
            values = saved.get(number, {})
            if values.keys() != tensors.keys():
                raise GraftworkError(
                    f"the saved state of the {group['level']} level is of another strategy: it holds "
                    f"{sorted(values) or 'nothing'} and {sorted(tensors)} is needed"
                )
            self.method.steps_taken = int(values[_STEPS])
            for name, tensor in tensors.items():
                if name != _STEPS:
                    tensor.copy_(values[name])

    def _tensors(self) -> list[dict[str, Tensor]]:
        """For every group what belongs to its variables, as views."""
        steps = torch.tensor(self.method.steps_taken)
        tensors: list[dict[str, Tensor]] = []
        for name, level in self._levels.items():
            buffers = {f"strategy.{key}": buffer for key, buffer in level.form.state().items()}
            if name in self.method.averages:
                buffers["average"] = self.method.averages[name]
            for row in range(len(level.point)):
                own = {key: buffer[row] for key, buffer in buffers.items()}
                tensors.append({**own, _STEPS: steps})
        return tensors

    def _show(self) -> None:
        """Let the parameters be the rows of the method's newest points."""
        for name, level in self._levels.items():
            for variables, row in zip(self._variables, level.point, strict=True):
                variables[name].data = row
