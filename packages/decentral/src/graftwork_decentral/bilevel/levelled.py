"""What bilevel methods have in common: levels, moving averages, and their state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from graftwork_decentral.bilevel.level import Level
from graftwork_decentral.bilevel.problem import Batch


class LevelledMethod:
    """The variables of the agents of this process.

    Args:
        name: to print.
        levels: by name, ``lower`` and ``upper`` among them.
        averages: moving averages of directions, by level.
    """

    def __init__(self, name: str, levels: Mapping[str, Level], averages: Mapping[str, Tensor]) -> None:
        self.name = name
        self.levels = dict(levels)
        self.averages = dict(averages)
        self.steps_taken = 0

    @property
    def upper(self) -> Tensor:
        """x, ``[agents here, upper variables]``."""
        return self.levels["upper"].point

    @property
    def lower(self) -> Tensor:
        """y, ``[agents here, lower variables]``."""
        return self.levels["lower"].point

    @property
    def evaluations_per_step(self) -> int:
        """How many gradients and products with second derivatives an agent computes in a step."""
        raise NotImplementedError

    def average(self, level: str, newest: Tensor, theta: float) -> Tensor:
        """Take a direction into its moving average, which is returned."""
        old = self.averages[level]
        self.averages[level] = newest if theta == 1 else (1 - theta) * old + theta * newest
        return self.averages[level]

    def state_dict(self) -> dict[str, Any]:
        """Return everything a later step depends on, as tensors and plain data (of this process's agents)."""
        return {
            "method": self.name,
            "steps_taken": self.steps_taken,
            "levels": {name: level.state_dict() for name, level in self.levels.items()},
            "averages": {name: average.clone() for name, average in self.averages.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state; the run is then bitwise the one that was not stopped.

        Raises:
            GraftworkError: it was saved with other strategies, graphs or agents.
        """
        for name, level in self.levels.items():
            level.load_state_dict(state["levels"][name])
        for name, average in self.averages.items():
            self.averages[name] = state["averages"][name].to(average).clone()
        self.steps_taken = state["steps_taken"]


def three_batches(batches: Batch | tuple[Batch, Batch, Batch], share: bool) -> tuple[Batch, Batch, Batch]:
    """Return the batches of the lower, the auxiliary and the upper direction.

    Args:
        batches: three of them as a tuple, or one for all.
        share: use the first for all.

    >>> three_batches({"a": 1}, share=False)[2], three_batches((1, 2, 3), share=True)
    ({'a': 1}, (1, 1, 1))
    """
    three = batches if isinstance(batches, tuple) and len(batches) == 3 else (batches,) * 3
    return (three[0],) * 3 if share else (three[0], three[1], three[2])
