"""What a task hands a trainer of bilevel problems."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from graftwork import Direction
from graftwork_decentral.bilevel.problem import Batch, BilevelProblem


@dataclass(frozen=True, slots=True)
class BilevelSetup:
    """A bilevel problem with its data spread over agents.

    Args:
        problem: the losses of one agent.
        upper_start: x at the start, ``[upper variables]``.
        lower_start: y at the start, ``[lower variables]``.
        batches: of a step and some agents; three independent batches, for the lower, the auxiliary and the
            upper direction, stacked over these agents. The same for the same arguments, whatever was drawn
            before.
        evaluate: metrics of one x and one y on held-out data, ``loss`` among them.
        directions: which way is better for each of these metrics, in order of importance.
        unit: what a step reads ("samples").
        units_per_step: how many of them all agents together read in a step.
    """

    problem: BilevelProblem
    upper_start: Tensor
    lower_start: Tensor
    batches: Callable[[int, Sequence[int]], tuple[Batch, Batch, Batch]]
    evaluate: Callable[[Tensor, Tensor], Mapping[str, float]]
    directions: Mapping[str, Direction]
    unit: str
    units_per_step: float


@runtime_checkable
class BilevelTask(Protocol):
    """A task that has a bilevel problem besides its model."""

    def bilevel(self, agents: int) -> BilevelSetup:
        """Return the problem with its data spread over some number of agents."""
        ...
