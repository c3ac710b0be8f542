"""MA-DSBO-GT: two inner loops with gradient tracking, and a moving average (arXiv:2210.12839, as reported).

Each step: T rounds of gradient tracking on the lower problem from where it stands; N rounds on the auxiliary
problem from z = 0; then, with u = grad_x f - J z,

    x+ = mix(x) - alpha r,      r+ = (1 - theta) r + theta u

The published method draws a new batch in every round; here a step has one batch for each of its loops.
Trackers start anew in every step. Reported means: this follows published descriptions, the defaults of T and
N are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graftwork_decentral.bilevel.level import Level, starting_points
from graftwork_decentral.bilevel.levelled import LevelledMethod, three_batches
from graftwork_decentral.bilevel.oracles import Oracles
from graftwork_decentral.bilevel.problem import Batch, BilevelProblem, BilevelSettings, at_step
from graftwork_decentral.communication import Communicator
from graftwork_decentral.strategies import consensus, gt_non_atc


class MovingAverageDoubleLoop(LevelledMethod):
    """A run of MA-DSBO-GT.

    Args:
        problem: the losses of one agent.
        communicator: which agents are here, and how they exchange.
        settings: steps and theta; its order does not apply.
        upper_start: ``[upper variables]``.
        lower_start: ``[lower variables]``.
        lower_rounds: T.
        auxiliary_rounds: N.

    Raises:
        ValueError: a number of rounds is below 1.
    """

    def __init__(
        self,
        problem: BilevelProblem,
        communicator: Communicator,
        settings: BilevelSettings,
        upper_start: Tensor | None = None,
        lower_start: Tensor | None = None,
        *,
        lower_rounds: int = 5,
        auxiliary_rounds: int = 5,
    ) -> None:
        for name, rounds in (("lower_rounds", lower_rounds), ("auxiliary_rounds", auxiliary_rounds)):
            if rounds < 1:
                raise ValueError(f"{name} must be at least 1, got {rounds}")
        self.settings = settings
        self.lower_rounds, self.auxiliary_rounds = lower_rounds, auxiliary_rounds
        self.oracles = Oracles(problem, hvp_mode=settings.hvp_mode, vectorize=settings.vectorize)
        like = _like(upper_start, communicator)
        sizes = (problem.lower_variables, problem.upper_variables)
        lower, upper = starting_points(sizes, (lower_start, upper_start), like)
        levels = {
            "lower": Level("lower", lower, gt_non_atc(), communicator, "scaled"),
            "auxiliary": Level("auxiliary", torch.zeros_like(lower), gt_non_atc(), communicator, "scaled"),
            "upper": Level("upper", upper, consensus(), communicator, "scaled"),
        }
        super().__init__("MA-DSBO-GT", levels, {"upper": torch.zeros_like(levels["upper"].point)})

    @property
    def evaluations_per_step(self) -> int:
        """Of gradients and products: a round each, grad_y f, grad_x f and the product with J."""
        return self.lower_rounds + self.auxiliary_rounds + 3

    @torch.no_grad()
    def step(self, batches: Batch | tuple[Batch, Batch, Batch]) -> None:
        """Take one step; see :meth:`~.sparkle.Sparkle.step`."""
        for_lower, for_auxiliary, for_upper = three_batches(batches, self.settings.share_batch)
        lower, auxiliary, upper = self.levels.values()
        own, step = self.settings, self.steps_taken
        _restart(lower, lower.point)
        for _ in range(self.lower_rounds):
            direction = self.oracles.lower(upper.point, lower.point, for_lower)
            lower.advance(direction, at_step(own.beta, step), step)
        _restart(auxiliary, torch.zeros_like(auxiliary.point))
        for _ in range(self.auxiliary_rounds):
            direction = self.oracles.auxiliary(upper.point, lower.point, auxiliary.point, for_auxiliary)
            auxiliary.advance(direction, at_step(own.gamma, step), step)
        newest = self.oracles.upper(upper.point, lower.point, auxiliary.point, for_upper)
        upper.advance(self.averages["upper"], at_step(own.alpha, step), step)
        self.average("upper", newest, at_step(own.theta, step))
        self.steps_taken += 1


def _restart(level: Level, point: Tensor) -> None:
    level.point = point
    for tensor in level.form.state().values():
        tensor.zero_()


def _like(start: Tensor | None, communicator: Communicator) -> Tensor:
    dtype = torch.get_default_dtype() if start is None else start.dtype
    return torch.empty(0, dtype=dtype, device=communicator.device)
