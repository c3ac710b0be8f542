"""SPARKLE: one step a time on three coupled consensus problems (arXiv:2411.14166).

The lower variables y, the auxiliary variables z (which stand for ``H^-1 grad_y f``) and the upper variables x
each move by their own primal-dual rule, with its own strategy, graph and step::

    y+ : step beta  along v = grad_y g(x, y)
    z+ : step gamma along q = H z - grad_y f         at (x, y+)
    r+ = (1 - theta) r + theta u,  u = grad_x f - J z   at (x, y+, z+)
    x+ : step alpha along r+

No inner loop, no Hessian. All start at 0 unless a start is given. In ``jacobi`` order all three directions
are taken at the old point, and levels on one graph share one message a step; the fixed point is the same.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from graftwork_decentral.bilevel.level import Level, Track, advance_together, starting_points
from graftwork_decentral.bilevel.levelled import LevelledMethod, three_batches
from graftwork_decentral.bilevel.oracles import Oracles
from graftwork_decentral.bilevel.problem import (
    Batch,
    BilevelProblem,
    BilevelSettings,
    HvpMode,
    Order,
    Schedule,
    at_step,
)
from graftwork_decentral.communication import Communicator
from graftwork_decentral.strategies import Strategy
from graftwork_decentral.strategies.strategy import Lazy
from graftwork_decentral.topology import GraphSequence

_SHORT = {
    "exact-diffusion": "ED",
    "extra": "EXTRA",
    "gt-atc": "GT",
    "gt-semi-atc": "GT",
    "gt-non-atc": "GT",
}


class Sparkle(LevelledMethod):
    """A run of SPARKLE over the agents of this process.

    Args:
        problem: the losses of one agent.
        communicator: which agents are here, and how they exchange.
        lower: strategy of y.
        auxiliary: strategy of z; that of y unless given.
        upper: strategy of x; that of y unless given.
        lower_graph: of y; the communicator's unless given.
        auxiliary_graph: of z; that of y unless given.
        upper_graph: of x; the communicator's unless given.
        alpha: step of x, a number or one for every step.
        beta: step of y.
        gamma: step of z.
        theta: weight of the newest hypergradient in its moving average, in (0, 1].
        order: ``gauss_seidel`` or ``jacobi``.
        share_batch: use the first batch for all three directions: cheaper, slightly biased.
        track: whether strategies remember directions times the step (``scaled``) or as they are (``raw``).
        lazy: ``auto`` makes a graph's weights lazy where a strategy would diverge on it; ``never`` refuses.
        auxiliary_radius: z of every agent is projected into a ball of this radius; only for strategies that
            keep nothing of the point.
        hvp_mode: see :class:`~.oracles.Oracles`.
        vectorize: see :class:`~.oracles.Oracles`.
        upper_start: ``[upper variables]``; zeros unless given.
        lower_start: ``[lower variables]``; zeros unless given.
        dtype: of all variables.
        name: to print; derived from the strategies unless given.

    Raises:
        GraftworkError: a strategy does not converge on its graph.
        ValueError: a step is not positive, theta is outside (0, 1], or a start has another size.

    >>> from graftwork_decentral.bilevel.quadratic import Quadratic
    >>> from graftwork_decentral.communication import StackedCommunicator
    >>> from graftwork_decentral.strategies import exact_diffusion
    >>> from graftwork_decentral.topology import ring
    >>> problem = Quadratic(agents=6)
    >>> method = Sparkle(problem, StackedCommunicator(ring(6, lazy=True)), lower=exact_diffusion(),
    ...                  alpha=0.05, beta=0.2, gamma=0.2, theta=0.5, dtype=torch.float64)
    >>> for _ in range(1500):
    ...     method.step(problem.data())
    >>> method.name, problem.error(method.upper) < 1e-18
    ('SPARKLE-ED', True)
    """

    def __init__(
        self,
        problem: BilevelProblem,
        communicator: Communicator,
        *,
        lower: Strategy,
        auxiliary: Strategy | None = None,
        upper: Strategy | None = None,
        lower_graph: GraphSequence | None = None,
        auxiliary_graph: GraphSequence | None = None,
        upper_graph: GraphSequence | None = None,
        alpha: Schedule,
        beta: Schedule,
        gamma: Schedule,
        theta: Schedule = 1.0,
        order: Order = "gauss_seidel",
        share_batch: bool = False,
        track: Track = "scaled",
        lazy: Lazy = "auto",
        auxiliary_radius: float | None = None,
        hvp_mode: HvpMode = "auto",
        vectorize: bool = True,
        upper_start: Tensor | None = None,
        lower_start: Tensor | None = None,
        dtype: torch.dtype | None = None,
        name: str | None = None,
    ) -> None:
        self.settings = BilevelSettings(
            alpha=alpha,
            beta=beta,
            gamma=gamma,
            theta=theta,
            order=order,
            share_batch=share_batch,
            hvp_mode=hvp_mode,
            vectorize=vectorize,
        )
        strategies = (lower, auxiliary or lower, upper or lower)
        if auxiliary_radius is not None:
            _may_project(strategies[1], auxiliary_radius)
        self.problem = problem
        self.oracles = Oracles(problem, hvp_mode=hvp_mode, vectorize=vectorize)
        self.auxiliary_radius = auxiliary_radius
        like = torch.empty(0, dtype=dtype or torch.get_default_dtype(), device=communicator.device)
        sizes = (problem.lower_variables, problem.lower_variables, problem.upper_variables)
        starts = starting_points(sizes, (lower_start, None, upper_start), like)
        graphs = (
            lower_graph or communicator.graphs,
            auxiliary_graph or lower_graph or communicator.graphs,
            upper_graph or communicator.graphs,
        )
        communicators = _communicators(communicator, graphs, strategies, lazy)
        levels = {
            level: Level(level, start, strategy, mixer, track)
            for level, start, strategy, mixer in zip(
                ("lower", "auxiliary", "upper"), starts, strategies, communicators, strict=True
            )
        }
        averages = {"upper": torch.zeros_like(levels["upper"].point)}
        super().__init__(name or printed_name(*strategies), levels, averages)

    @property
    def hypergradient(self) -> Tensor:
        """r, the moving average of u, ``[agents here, upper variables]``."""
        return self.averages["upper"]

    @property
    def evaluations_per_step(self) -> int:
        """5: grad_y g, grad_y f, grad_x f, and a product with each of the two second derivatives of g."""
        return 5

    @property
    def auxiliary(self) -> Tensor:
        """z, ``[agents here, lower variables]``."""
        return self.levels["auxiliary"].point

    @torch.no_grad()
    def step(self, batches: Batch | tuple[Batch, Batch, Batch]) -> None:
        """Take one step.

        Args:
            batches: three, for v, q and u, independent of each other; or one for all, which is no tuple of
                three. Each of the agents of this process, in their order.
        """
        for_lower, for_auxiliary, for_upper = three_batches(batches, self.settings.share_batch)
        if self.settings.order == "jacobi":
            self._jacobi(for_lower, for_auxiliary, for_upper)
        else:
            self._gauss_seidel(for_lower, for_auxiliary, for_upper)
        self.steps_taken += 1

    def _gauss_seidel(self, for_lower: Batch, for_auxiliary: Batch, for_upper: Batch) -> None:
        lower, auxiliary, upper = self.levels.values()
        step, (alpha, beta, gamma, theta) = self.steps_taken, self._sizes()
        lower.advance(self.oracles.lower(upper.point, lower.point, for_lower), beta, step)
        direction = self.oracles.auxiliary(upper.point, lower.point, auxiliary.point, for_auxiliary)
        auxiliary.advance(direction, gamma, step)
        self._project()
        direction = self.oracles.upper(upper.point, lower.point, auxiliary.point, for_upper)
        upper.advance(self.average("upper", direction, theta), alpha, step)

    def _jacobi(self, for_lower: Batch, for_auxiliary: Batch, for_upper: Batch) -> None:
        x, y, z = self.upper, self.lower, self.auxiliary
        alpha, beta, gamma, theta = self._sizes()
        if for_lower is for_auxiliary is for_upper:
            v, q, u = self.oracles.together(x, y, z, for_lower)
        else:
            v = self.oracles.lower(x, y, for_lower)
            q = self.oracles.auxiliary(x, y, z, for_auxiliary)
            u = self.oracles.upper(x, y, z, for_upper)
        r = self.average("upper", u, theta)
        levels = list(self.levels.values())
        directions = zip(levels, (v, q, r), (beta, gamma, alpha), strict=True)
        moved = [level.moved(direction, size, self.steps_taken) for level, direction, size in directions]
        advance_together(levels, moved, self.steps_taken)
        self._project()

    def _sizes(self) -> tuple[float, float, float, float]:
        own = self.settings
        alpha, beta, gamma, theta = (
            at_step(schedule, self.steps_taken) for schedule in (own.alpha, own.beta, own.gamma, own.theta)
        )
        return alpha, beta, gamma, theta

    def _project(self) -> None:
        if self.auxiliary_radius is not None:
            level = self.levels["auxiliary"]
            norm = level.point.norm(dim=1, keepdim=True)
            level.point = level.point * (self.auxiliary_radius / norm).clamp(max=1)


def printed_name(lower: Strategy, auxiliary: Strategy, upper: Strategy) -> str:
    """Return what a variant is called: the strategy of lower and auxiliary level first, then the upper one.

    >>> from graftwork_decentral.strategies import exact_diffusion, gt_semi_atc
    >>> printed_name(exact_diffusion(), exact_diffusion(), gt_semi_atc())
    'SPARKLE-ED-GT'
    """
    names = [_SHORT.get(one.name, one.name) for one in (lower, auxiliary, upper)]
    if names[0] == names[1]:
        del names[1]
    if len(set(names)) == 1:
        del names[1:]
    return "-".join(["SPARKLE", *names])


def _communicators(
    communicator: Communicator,
    graphs: tuple[GraphSequence, ...],
    strategies: tuple[Strategy, ...],
    lazy: Lazy,
) -> list[Communicator]:
    """One for every level, the same object for levels on one graph."""
    made: dict[str, Communicator] = {communicator.graphs.digest: communicator}
    chosen = []
    for graph, strategy in zip(graphs, strategies, strict=True):
        if lazy == "auto":
            graph = strategy.suited(graph)
        else:
            strategy.validate(graph)
        made.setdefault(graph.digest, communicator.on(graph))
        chosen.append(made[graph.digest])
    return chosen


def _may_project(strategy: Strategy, radius: float) -> None:
    if not 0 < radius < math.inf:
        raise ValueError(f"auxiliary_radius must be above 0 and finite, or none, got {radius}")
    if strategy.corrects_heterogeneity and not strategy.tracks:
        raise ValueError(
            f"auxiliary_radius is for strategies without a correction of the point (gradient "
            f"tracking, diffusion, consensus): projection would break that of {strategy.name!r}"
        )
