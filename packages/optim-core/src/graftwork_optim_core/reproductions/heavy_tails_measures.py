"""What is measured under noise with heavy tails: levels by length of the run, tuned methods, and slopes.

See :mod:`.nsgdc` for what is shown by it and :mod:`.heavy_tails_runs` for the runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from graftwork_optim_core.normalized.schedules import ScheduleKind, nsgdc_schedule
from graftwork_optim_core.reproductions.heavy_tails_noise import NoiseDraw, NoiseKind, draw_of
from graftwork_optim_core.reproductions.heavy_tails_runs import (
    DIMENSIONS,
    Levels,
    Setting,
    StepKind,
    averaged_noise,
    curved_problem,
    levels,
    log_problem,
    slope,
)

GAMMA0 = 2.0
COMPARED_STEPS = 2000

GRIDS: dict[str, tuple[StepKind, list[Setting]]] = {
    "SGD": ("sgd", [Setting(1.0, rate, COMPARED_STEPS) for rate in (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)]),
    "clipped SGD": (
        "sgd",
        [
            Setting(1.0, rate, COMPARED_STEPS, clip)
            for rate in (0.1, 0.03, 0.01)
            for clip in (0.5, 1.0, 3.0, 10.0, 30.0)
        ],
    ),
    "NSGDC": (
        "nsgdc",
        [Setting(a, length, COMPARED_STEPS) for length in (0.1, 0.03, 0.01, 0.003) for a in (1.0, 0.1, 0.03)],
    ),
}
"""What each method may choose from."""


def noise(kind: NoiseKind, p: float) -> NoiseDraw:
    """Return noise whose p-th moment is just finite: of index p + 0.02 and scale 0.5 / sqrt(d)."""
    return draw_of(kind, p + 0.02, 0.5 / DIMENSIONS**0.5)


@dataclass(frozen=True, slots=True)
class LevelCurve:
    """Levels of one method by the length of the run.

    Args:
        kind: of the method.
        noise: of the gradients.
        p: the moment that its schedule was told of.
        horizons: lengths of the runs.
        levels: ``[horizons, seeds]``.
    """

    kind: ScheduleKind
    noise: NoiseKind
    p: float
    horizons: Sequence[int]
    levels: Levels

    @property
    def tail_slope(self) -> float:
        """Of the mean over the last half."""
        return slope(self.horizons, self.levels.tail.mean(1))

    @property
    def whole_slope(self) -> float:
        """Of the mean over the whole run."""
        return slope(self.horizons, self.levels.whole.mean(1))


def curve(
    kind: ScheduleKind, noise_kind: NoiseKind, p: float, horizons: Sequence[int], seeds: int, seed: int
) -> LevelCurve:
    """Run a method with the schedule that knows p and T alone."""
    settings = _scheduled(kind, p, horizons, gamma0=GAMMA0)
    found = levels(kind, log_problem(), settings, noise(noise_kind, p), seeds, seed)
    return LevelCurve(kind, noise_kind, p, horizons, found)


def _scheduled(kind: ScheduleKind, p: float, horizons: Sequence[int], **known: float) -> list[Setting]:
    schedules = [nsgdc_schedule(kind, p, horizon, **known) for horizon in horizons]
    return [Setting(1 - one.momentum, one.lr, steps) for one, steps in zip(schedules, horizons, strict=True)]


@dataclass(frozen=True, slots=True)
class Compared:
    """The best of one method's grid.

    Args:
        method: by its name in ``GRIDS``.
        noise: of the gradients.
        p: see :func:`noise`.
        setting: what was chosen.
        tails: ``[seeds]``, of seeds that took no part in the choice.
    """

    method: str
    noise: NoiseKind
    p: float
    setting: Setting
    tails: Tensor


def compare(method: str, noise_kind: NoiseKind, p: float, seeds: int, seed: int) -> Compared:
    """Choose by the mean over one set of seeds, and judge with two others."""
    step, grid = GRIDS[method]
    draw, problem = noise(noise_kind, p), curved_problem()
    chosen = grid[int(levels(step, problem, grid, draw, seeds, seed).tail.mean(1).argmin())]
    fresh = [levels(step, problem, [chosen], draw, seeds, seed + further).tail[0] for further in (1, 2)]
    return Compared(method, noise_kind, p, chosen, torch.cat(fresh))


def plateau(noise_kind: NoiseKind, p: float, horizons: Sequence[int], seeds: int, seed: int) -> list[Tensor]:
    """Return tail levels by length of the run, without momentum (moves of 2 / sqrt(T)) and with it."""
    bare = [Setting(1.0, GAMMA0 * horizon**-0.5, horizon) for horizon in horizons]
    averaging = _scheduled("nsgdc", p, horizons, gamma0=GAMMA0)
    return [
        levels("nsgdc", log_problem(), settings, noise(noise_kind, p), seeds, seed).tail.mean(1)
        for settings in (bare, averaging)
    ]


def noiseless_slope(horizons: Sequence[int]) -> tuple[float, float]:
    """Return slopes of the run average without noise: all constants known, and p = 1.5 and T alone."""
    problem = log_problem()
    constants = {"L": problem.smoothness, "delta": problem.height, "sigma": 0.0}
    slopes = []
    for known in (constants, {"gamma0": GAMMA0}):
        settings = _scheduled("nsgdc", 1.5, horizons, **known)
        silent = levels("nsgdc", problem, settings, lambda shape, _: torch.zeros(shape).double(), 1, 0)
        slopes.append(slope(horizons, silent.whole.mean(1)))
    return slopes[0], slopes[1]


def averager_slope(index: float, seed: int, chains: int = 4000) -> float:
    """Return by which power of a the running mean of symmetric stable noise falls."""
    mixings = [2.0**-power for power in range(3, 10)]
    sizes = [averaged_noise(a, draw_of("stable", index, 1.0), chains, seed) for a in mixings]
    return slope([round(1 / a) for a in mixings], torch.tensor(sizes))
