"""MDBO: momentum and gradient tracking at both levels, a Neumann series (arXiv:2206.15025, as reported).

Each agent estimates its hypergradient with its own second derivatives,

    z = gamma sum_{j < J} (I - gamma H)^j grad_y f,      u = grad_x f - J z,

takes u and v = grad_y g into moving averages, tracks both, and moves ``x+ = mix(x) - alpha t_x`` and
``y+ = mix(y) - beta t_y``. Where agents' second derivatives differ, a mean of products of inverses stands
for the product of means, so that the fixed point is biased however small the steps are.

Reported means: this follows published descriptions. Differences: the published series has a random length
(here all J terms); the published move goes only a part of the way (here all of it: the step says how far).
"""

from __future__ import annotations

import torch
from torch import Tensor

from graftwork_decentral.bilevel.level import Level, advance_together, starting_points
from graftwork_decentral.bilevel.levelled import LevelledMethod, three_batches
from graftwork_decentral.bilevel.oracles import Oracles
from graftwork_decentral.bilevel.problem import Batch, BilevelProblem, BilevelSettings, at_step
from graftwork_decentral.communication import Communicator
from graftwork_decentral.strategies import gt_non_atc


class MomentumBilevel(LevelledMethod):
    """A run of MDBO.

    Args:
        problem: the losses of one agent.
        communicator: which agents are here, and how they exchange.
        settings: steps; theta is the weight of the newest direction at both levels, gamma the series' step;
            its order does not apply.
        upper_start: ``[upper variables]``.
        lower_start: ``[lower variables]``.
        terms: J, of the series.

    Raises:
        ValueError: there is no term.
    """

    def __init__(
        self,
        problem: BilevelProblem,
        communicator: Communicator,
        settings: BilevelSettings,
        upper_start: Tensor | None = None,
        lower_start: Tensor | None = None,
        *,
        terms: int = 10,
    ) -> None:
        if terms < 1:
            raise ValueError(f"terms must be at least 1, got {terms}")
        self.settings = settings
        self.terms = terms
        self.oracles = Oracles(problem, hvp_mode=settings.hvp_mode, vectorize=settings.vectorize)
        dtype = torch.get_default_dtype() if upper_start is None else upper_start.dtype
        like = torch.empty(0, dtype=dtype, device=communicator.device)
        sizes = (problem.lower_variables, problem.upper_variables)
        starts = starting_points(sizes, (lower_start, upper_start), like)
        levels = {
            name: Level(name, start, gt_non_atc(), communicator, "scaled")
            for name, start in zip(("lower", "upper"), starts, strict=True)
        }
        super().__init__(
            "MDBO", levels, {name: torch.zeros_like(level.point) for name, level in levels.items()}
        )

    @property
    def evaluations_per_step(self) -> int:
        """Of gradients and products: grad_y g, grad_y f, grad_x f, J terms and the product with J."""
        return self.terms + 4

    @torch.no_grad()
    def step(self, batches: Batch | tuple[Batch, Batch, Batch]) -> None:
        """Take one step; see :meth:`~.sparkle.Sparkle.step`."""
        for_lower, for_auxiliary, for_upper = three_batches(batches, self.settings.share_batch)
        lower, upper = self.levels.values()
        own, step = self.settings, self.steps_taken
        alpha, beta, gamma, theta = (
            at_step(one, step) for one in (own.alpha, own.beta, own.gamma, own.theta)
        )
        x, y = upper.point, lower.point
        # Steps along H z - grad_y f from 0 are the partial sums of the series.
        z = torch.zeros_like(y)
        for _ in range(self.terms):
            z = z - gamma * self.oracles.auxiliary(x, y, z, for_auxiliary)
        v = self.average("lower", self.oracles.lower(x, y, for_lower), theta)
        u = self.average("upper", self.oracles.upper(x, y, z, for_upper), theta)
        moved = [lower.moved(v, beta, step), upper.moved(u, alpha, step)]
        advance_together([lower, upper], moved, step)
        self.steps_taken += 1
