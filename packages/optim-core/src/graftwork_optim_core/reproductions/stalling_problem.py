"""A convex problem on which GaLore stops short of the minimum, and the level at which it stops.

Source: He, Li, Hu, Chen, Yuan, Subspace Optimization for Large Language Models with Convergence Guarantees,
arXiv:2410.11289, the counterexample to GaLore's convergence. With X ``[size, size]`` and D ``[top, top]``,
where ``top = size - rank``, and blkdiag for a block-diagonal matrix:

    f(X) = 1/2 ||A X||^2 + <B, X>,     A = [I, 0] of the first top rows,  B = blkdiag(D, 0)
    G = A^T A X + B + xi sigma C,      C = blkdiag(0, I_rank),  xi = 1 or -1 with equal probability
    min f = -1/2 ||D||^2

G is unbiased, and its noise has ``rank`` singular values equal to sigma, on rows that f does not use. Once
all singular values of the true gradient are below sigma the leading left singular vectors are these rows:
what is left of the gradient is projected away, for ever and with every host. A singular value s of
``D + X_0`` (its block ``[top, top]``) shrinks while it is above sigma and then stays, so that, as learning
rate times refresh interval goes to 0, the value goes to

    f_stall = min f + 1/2 sum_i min(s_i, sigma)^2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from graftwork_optim_core.subspace.optimizer import SubspaceOptimizer


@dataclass(frozen=True, eq=False)
class StallingProblem:
    """One instance of the problem, in float64.

    Args:
        slope: D, ``[top, top]``.
        start: X_0, ``[size, size]``.
        noise: sigma, greater than 0.
    """

    slope: Tensor
    start: Tensor
    noise: float = 1.0

    @classmethod
    def drawn(cls, seed: int = 42, size: int = 10, rank: int = 4, noise: float = 1.0) -> StallingProblem:
        """Draw an instance; the defaults are the published one.

        D is standard normal. X_0 is half of sigma times the identity, and in its last ``rank`` rows normal
        with standard deviation sigma.

        Args:
            seed: of D and then of the last rows, both drawn in float32.
            size: of X, greater than ``rank``.
            rank: of the noise, and of the projection that it defeats.
            noise: sigma.

        >>> problem = StallingProblem.drawn()
        >>> round(problem.minimum, 5), round(problem.value(problem.start), 5), round(problem.stall_level, 5)
        (-23.21744, 0.81073, -20.77618)
        """
        generator = torch.Generator().manual_seed(seed)
        top = size - rank
        slope = torch.randn(top, top, generator=generator).double()
        unused = noise * torch.randn(rank, size, generator=generator).double()
        used = noise / 2 * torch.eye(top, size, dtype=torch.float64)
        return cls(slope, torch.cat([used, unused]), noise)

    @property
    def minimum(self) -> float:
        """The smallest value of f."""
        return -0.5 * float(self.slope.square().sum())

    @cached_property
    def singular_values(self) -> Tensor:
        """Those of the true gradient at the start, largest first; ``[top]``."""
        top = len(self.slope)
        values: Tensor = torch.linalg.svdvals(self.slope + self.start[:top, :top])
        return values

    @property
    def stall_level(self) -> float:
        """Where GaLore stops, as learning rate times refresh interval goes to 0."""
        return self.minimum + 0.5 * float(self.singular_values.clamp(max=self.noise).square().sum())

    def stall_interval(self, learning_rate: float, refresh_every: int) -> tuple[float, float]:
        """Return between which values GaLore stops with stochastic gradient descent.

        A singular value is last shrunk in the refresh interval in which it goes below sigma, by no more than
        a factor of ``1 - learning_rate * refresh_every``.
        """
        least = 1 - learning_rate * refresh_every
        above = int((self.singular_values > self.noise).sum())
        return self.stall_level - 0.5 * above * self.noise**2 * (1 - least**2), self.stall_level

    @cached_property
    def _constants(self) -> tuple[Tensor, Tensor, Tensor]:
        """``B``, the rows that f uses as ones, and ``sigma C``."""
        top, size = len(self.slope), len(self.start)
        linear, used, noise = (torch.zeros(size, size, dtype=torch.float64) for _ in range(3))
        linear[:top, :top] = self.slope
        used[:top] = 1.0
        noise[top:, top:].fill_diagonal_(self.noise)
        return linear, used, noise

    def value(self, point: Tensor) -> float:
        """Return f at a point ``[size, size]``."""
        linear, used, _ = self._constants
        return float((point.square() * used / 2 + linear * point).sum())

    def gradient(self, point: Tensor, sign: float) -> Tensor:
        """Return the stochastic gradient ``[size, size]`` where ``xi`` is the sign, or a mean of signs."""
        linear, used, noise = self._constants
        return torch.addcmul(linear, used, point).add_(noise, alpha=sign)


OptimizerOf = Callable[[list[torch.nn.Parameter]], SubspaceOptimizer]
"""Makes the optimizer of a list of one parameter."""


def descend(
    problem: StallingProblem,
    optimizer_of: OptimizerOf,
    steps: int,
    *,
    refresh_draws: int = 1,
    seed: int = 0,
    records: int = 1,
) -> list[tuple[int, float]]:
    """Let an optimizer descend from the problem's start.

    Args:
        problem: what to descend.
        optimizer_of: called once, with a list of X alone.
        steps: 1 or more.
        refresh_draws: of how many draws the gradient is the mean at steps that take a new basis (large-batch
            GaLore); it is one draw at all other steps.
        seed: of the draws, which are the same for every optimizer but for those at refreshes.
        records: how many values to return, evenly spaced and the last step's among them; 1 to ``steps``.

    Returns:
        Steps made and f there, for the start and each record.

    >>> from functools import partial
    >>> momentum = {"momentum": 0.0}
    >>> full = partial(SubspaceOptimizer, lr=0.1, host="msgd", transform="identity", host_options=momentum)
    >>> [(step, round(value, 3)) for step, value in descend(StallingProblem.drawn(), full, 200, records=2)]
    [(0, 0.811), (100, -23.217), (200, -23.217)]
    """
    generator = torch.Generator().manual_seed(seed)
    signs = _signs(steps, generator).tolist()
    point = torch.nn.Parameter(problem.start.clone())
    optimizer = optimizer_of([point])
    recorded = {round(steps * record / records) for record in range(1, records + 1)}
    curve = [(0, problem.value(point.detach()))]
    for step, sign in enumerate(signs, 1):
        if refresh_draws > 1 and optimizer.refresh_due():
            sign = float(_signs(refresh_draws, generator).mean())
        point.grad = problem.gradient(point.detach(), sign)
        optimizer.step()
        if step in recorded:
            curve.append((step, problem.value(point.detach())))
    return curve


def _signs(count: int, generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, (count,), generator=generator).double() * 2 - 1
