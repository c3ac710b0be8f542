"""Many runs of the normalized methods and of SGD at once, on functions whose noise has heavy tails.

One step of all runs is a few operations on ``[runs, dimensions]``; the equations are those of
:mod:`graftwork_optim_core.normalized`, step for step, and a test compares the two.

    log       f(w) = sum_i h_i log(1 + w_i^2),    h from 0.5 to 1, started at 1.5 where it is concave
    curved    f(w) = sum_i h_i w_i^2 / 2 + 0.1 (1 - cos 2 w_i),    h from 0.2 to 2, started at 1.5

The gradient of the first vanishes far away, where a diverged run would look good; that of the second grows,
so that SGD is judged on it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from graftwork_optim_core.reproductions.heavy_tails_noise import NoiseDraw

StepKind = Literal["nsgdc", "a-nsgdc", "nsgdc-vr", "sgd"]
DIMENSIONS = 10
START = 1.5
CURVATURE_NOISE = 0.3
_BLOCK = 128


@dataclass(frozen=True, slots=True)
class GradientField:
    """A function by its gradient.

    Args:
        gradient: ``[runs, dimensions]`` to the same.
        height: of the start above the infimum.
        smoothness: Lipschitz constant of the gradient.
    """

    gradient: Callable[[Tensor], Tensor]
    height: float
    smoothness: float


def log_problem() -> GradientField:
    """Return the function of which the slopes are measured.

    >>> round(log_problem().height, 3)
    8.84
    """
    weights = torch.linspace(0.5, 1.0, DIMENSIONS, dtype=torch.float64)
    height = float((weights * torch.log1p(torch.tensor(START**2, dtype=torch.float64))).sum())
    return GradientField(lambda w: 2 * weights * w / (1 + w * w), height, 2.0)


def curved_problem() -> GradientField:
    """Return the function on which methods are compared.

    >>> float(curved_problem().gradient(torch.zeros(1, DIMENSIONS, dtype=torch.float64)).abs().sum())
    0.0
    """
    weights = torch.linspace(0.2, 2.0, DIMENSIONS, dtype=torch.float64)
    start = torch.full((DIMENSIONS,), START, dtype=torch.float64)
    height = float((weights * start**2 / 2 + 0.1 * (1 - torch.cos(2 * start))).sum())
    return GradientField(lambda w: weights * w + 0.2 * torch.sin(2 * w), height, 2.4)


@dataclass(frozen=True, slots=True)
class Setting:
    """What one run does.

    Args:
        mixing: a, in (0, 1]; 1 for no momentum.
        length: of a move, or the learning rate of SGD.
        steps: of the run.
        clip: largest norm of a gradient; infinite for none.
    """

    mixing: float
    length: float
    steps: int
    clip: float = float("inf")


@dataclass(frozen=True, slots=True)
class Levels:
    """Mean norms of the true gradient at the iterates.

    Args:
        tail: ``[settings, seeds]``, over the last half of each run.
        whole: over all of it.
    """

    tail: Tensor
    whole: Tensor


def levels(
    method: StepKind,
    problem: GradientField,
    settings: Sequence[Setting],
    draw: NoiseDraw,
    seeds: int,
    seed: int,
) -> Levels:
    """Run every setting with as many seeds, all with noise of their own.

    Args:
        method: whose step is made; "sgd" moves by length times the gradient, clipped.
        problem: to descend.
        settings: one each run.
        draw: of the noise, ``[steps, runs, dimensions]`` at once.
        seeds: of each setting.
        seed: of them all.
    """
    order = sorted(range(len(settings)), key=lambda n: -settings[n].steps)
    ordered = [settings[n] for n in order]
    runs = _Runs(method, problem, ordered, seeds)
    generator = torch.Generator().manual_seed(seed)
    tail, whole = torch.zeros(2, len(settings) * seeds, dtype=torch.float64)
    ends = torch.tensor([one.steps for one in ordered]).repeat_interleave(seeds)
    for start in range(0, ordered[0].steps, _BLOCK):
        size = min(_BLOCK, ordered[0].steps - start)
        active = int((ends > start).sum())
        runs.keep(active)
        noise = draw((size, active, DIMENSIONS), generator)
        phases = None
        if method == "nsgdc-vr":
            phases = torch.rand((size, active, DIMENSIONS), dtype=torch.float64, generator=generator)
            phases *= 2 * torch.pi
        for offset in range(size):
            norms = problem.gradient(runs.point).norm(dim=1)
            step = start + offset
            norms *= step < ends[:active]
            whole[:active] += norms
            tail[:active] += norms * (2 * step >= ends[:active])
            runs.step(noise[offset], None if phases is None else phases[offset])
    whole, tail = whole / ends, tail / (ends - (ends + 1) // 2)
    back = torch.tensor(order).argsort()
    return Levels(tail.view(len(settings), seeds)[back], whole.view(len(settings), seeds)[back])


class _Runs:
    def __init__(
        self, method: StepKind, problem: GradientField, settings: Sequence[Setting], seeds: int
    ) -> None:
        def column(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float64).repeat_interleave(seeds)[:, None]

        self.method, self.problem = method, problem
        self.mixing = column([one.mixing for one in settings])
        self.length = column([one.length for one in settings])
        self.clip = column([one.clip for one in settings])
        self.point = torch.full((len(self.mixing), DIMENSIONS), START, dtype=torch.float64)
        self.previous, self.momentum = self.point.clone(), torch.zeros_like(self.point)
        self.clips = bool(self.clip.isfinite().any())
        self.first = True

    def keep(self, count: int) -> None:
        """Let the last runs end, which are the shortest."""
        if count < len(self.point):
            for name in ("mixing", "length", "clip", "point", "previous", "momentum"):
                setattr(self, name, getattr(self, name)[:count].contiguous())

    def _sample(self, at: Tensor, noise: Tensor, phases: Tensor | None) -> Tensor:
        gradient = self.problem.gradient(at) + noise
        if phases is not None:
            gradient += CURVATURE_NOISE * torch.sin(at + phases)
        if self.clips:
            gradient = gradient * (self.clip / gradient.norm(dim=1, keepdim=True)).clamp(max=1.0)
        return gradient

    def step(self, noise: Tensor, phases: Tensor | None) -> None:
        """Make a step of all runs."""
        at = self.point
        if self.method == "a-nsgdc":
            at = self.point + (1 - self.mixing) / self.mixing * (self.point - self.previous)
        gradient = self._sample(at, noise, phases)
        if self.first:
            self.momentum = gradient
        elif self.method == "nsgdc-vr":
            former = self._sample(self.previous, noise, phases)
            self.momentum = gradient + (1 - self.mixing) * (self.momentum - former)
        else:
            self.momentum = self.momentum + self.mixing * (gradient - self.momentum)
        self.first = False
        self.previous = self.point
        direction = self.momentum
        if self.method != "sgd":
            norm = direction.norm(dim=1, keepdim=True)
            direction = direction / torch.where(norm > 0, norm, torch.ones_like(norm))
        self.point = self.point - self.length * direction


def slope(horizons: Sequence[int], values: Tensor) -> float:
    """Return by which power of 1 / T values fall: the negative slope of log value against log T.

    >>> round(slope([10, 100, 1000], torch.tensor([1.0, 0.1, 0.01])), 6)
    1.0
    """
    x = torch.tensor([float(horizon) for horizon in horizons], dtype=torch.float64).log()
    y = values.double().log()
    x, y = x - x.mean(), y - y.mean()
    return -float((x * y).sum() / (x * x).sum())


def averaged_noise(mixing: float, draw: NoiseDraw, chains: int, seed: int) -> float:
    """Return the median size of the running mean of noise alone, once its start is forgotten.

    Args:
        mixing: a, in (0, 1].
        draw: of the noise.
        chains: independent ones.
        seed: of them all.
    """
    generator = torch.Generator().manual_seed(seed)
    mean = torch.zeros(chains, dtype=torch.float64)
    for _ in range(round(6 / mixing)):
        mean.lerp_(draw((chains,), generator), mixing)
    return float(mean.abs().median())
