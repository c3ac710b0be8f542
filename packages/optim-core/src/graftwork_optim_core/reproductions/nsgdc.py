"""Normalized SGD under noise with heavy tails: what is measured beside what the theorems bound.

Source: Sun, Liu, Yuan, arXiv:2410.16561 (JMLR 26(237), 2025). The functions, noises and grids here are not
the paper's, whose own were not to be had; see :mod:`.heavy_tails_runs` and :mod:`.heavy_tails_noise`.

1. slopes: mean gradient norm against the number of steps T = 2^9 ... , with step lengths and momentum chosen
   from p and T alone. A theorem bounds the mean over a whole run. At these lengths that mean still holds the
   way from the start, and falls more slowly than the bound; the mean over the last half falls faster.
   Neither says whether the theorem's rate holds: they say whether the code does what it did.
2. averager: the running mean of noise alone, whose size falls as ``a^((index - 1) / index)``.
3. momentum: with skewed noise, normalization without momentum stops improving.
4. no noise: the schedule that knows the constants takes whole gradients, and the slope is near 1/2.
5. comparison: SGD, clipped SGD and NSGDC, each with the best of its own grid, chosen with one set of seeds
   and judged with others. Tuned clipped SGD is the best of the three in most cases; NSGDC's worst seed stays
   close to its mean where SGD's does not.
6. language model, if asked for: see :mod:`.heavy_tails_language_model`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from torch import Tensor

from graftwork import Finding
from graftwork_optim_core.normalized.schedules import KINDS, ScheduleKind, rate_exponent
from graftwork_optim_core.reproductions import heavy_tails_language_model as language
from graftwork_optim_core.reproductions.heavy_tails_figure import draw_figure
from graftwork_optim_core.reproductions.heavy_tails_measures import (
    GRIDS,
    Compared,
    LevelCurve,
    averager_slope,
    compare,
    curve,
    noiseless_slope,
    plateau,
)
from graftwork_optim_core.reproductions.heavy_tails_noise import NoiseKind
from graftwork_optim_core.reproductions.heavy_tails_runs import Setting
from graftwork_optim_core.reproductions.output import can_draw, write_findings, write_table

INDICES = (1.2, 1.5, 1.8)
NOISES: tuple[NoiseKind, ...] = ("stable", "pareto")
_SHORTEST = 9
_NAMES: dict[ScheduleKind, str] = {"nsgdc": "NSGDC", "a-nsgdc": "A-NSGDC", "nsgdc-vr": "NSGDC-VR"}


def reproduce(
    output: Path,
    longest: int = 2**14,
    seeds: int = 16,
    seed: int = 1,
    language_model: bool = False,
    language_model_steps: int = 600,
) -> list[Finding]:
    """Measure slopes, worst seeds and, if asked for, a language model's gradient noise.

    Args:
        output: folder for ``findings.json``, ``slopes.csv``, ``levels.csv``, ``comparison.csv`` and, where
            matplotlib is installed, ``nsgdc.png``; made if need be.
        longest: steps of the longest runs, a power of 2, 2048 or more.
        seeds: of every setting, 2 or more.
        seed: of the first set; further sets take the next ones.
        language_model: train a small transformer too, which takes some ten times as long; needs
            graftwork-text.
        language_model_steps: of each of its runs, 20 or more.

    Raises:
        ValueError: an option is out of its range.
        GraftworkError: the language model is wanted, and its task or model is not installed.
    """
    if longest < 2048 or longest & (longest - 1):
        raise ValueError(f"longest must be a power of 2, 2048 or more, got {longest}")
    if seeds < 2:
        raise ValueError(f"seeds must be 2 or more, got {seeds}")
    if language_model_steps < 20:
        raise ValueError(f"language_model_steps must be 20 or more, got {language_model_steps}")
    # What is not installed is said now, not a minute later.
    pictured = can_draw()
    if language_model:
        language.make_task()
    output.mkdir(parents=True, exist_ok=True)
    horizons = [2**power for power in range(_SHORTEST, longest.bit_length())]
    curves = [
        curve(kind, noise_kind, p, horizons, seeds, seed)
        for noise_kind in NOISES
        for p in INDICES
        for kind in KINDS
    ]
    compared = [
        compare(method, noise_kind, p, seeds, seed)
        for noise_kind in NOISES
        for p in INDICES
        for method in GRIDS
    ]
    fourfold = horizons[-1::-2][::-1]
    plateaus = {p: plateau("pareto", p, fourfold, seeds, seed) for p in INDICES[:2]}
    findings = [
        *_slope_findings(curves),
        *_averager_findings(seed),
        *_plateau_findings(plateaus, fourfold),
        *_noiseless_findings(horizons),
        *_comparison_findings(compared),
    ]
    _write_curves(curves, output)
    heading = ["method", "noise", "p", "tried", "lr", "momentum", "clip", "mean", "worst"]
    write_table(output / "comparison.csv", heading, map(_comparison_row, compared))
    if pictured:
        draw_figure(curves, compared, plateaus, fourfold, output / "nsgdc.png")
    if language_model:
        findings += language.measure(output, language_model_steps, seed)
    write_findings(output, findings)
    return findings


_BOUND = (
    "published: the exponent by which a theorem bounds the mean over a whole run; neither slope at these "
    "lengths confirms it"
)


def _slope_findings(curves: Iterable[LevelCurve]) -> Iterator[Finding]:
    for one in curves:
        name = f"{_NAMES[one.kind]}, {one.noise} noise, p = {one.p}"
        bound = rate_exponent(one.kind, one.p)
        yield Finding(f"slope of the run average, {name}", bound, one.whole_slope, _BOUND)
        note = f"last half of a run; {_BOUND}"
        yield Finding(f"slope of the tail average, {name}", bound, one.tail_slope, note)


def _averager_findings(seed: int) -> list[Finding]:
    return [
        Finding(
            f"exponent of the running mean of stable noise, index {index}",
            None,
            averager_slope(index, seed),
            "medians of 4000 chains, a = 2^-3 ... 2^-9; the exponent is exact",
            expected=(index - 1) / index,
            source="computed",
        )
        for index in INDICES
    ]


def _plateau_findings(plateaus: dict[float, list[Tensor]], horizons: Sequence[int]) -> Iterator[Finding]:
    for p, pair in plateaus.items():
        for name, tails in zip(("without", "with"), pair, strict=True):
            shown = " / ".join(f"{value:.3f}" for value in tails.tolist())
            lengths = " / ".join(map(str, horizons))
            yield Finding(
                f"improvement over the last factor of 4 in steps, Pareto noise, p = {p}, {name} momentum",
                None,
                float(1 - tails[-1] / tails[-2]),
                f"tail levels {shown} at {lengths} steps",
            )


def _noiseless_findings(horizons: Sequence[int]) -> list[Finding]:
    aware, blind = noiseless_slope(horizons)
    return [
        Finding(
            "slope of the run average without noise, all constants known",
            0.5,
            aware,
            "published: the theorem's exponent",
        ),
        Finding(
            "slope of the run average without noise, p = 1.5 and T alone known",
            None,
            blind,
            "a schedule that is not told that there is no noise does not get the better rate",
        ),
    ]


def _comparison_findings(compared: Iterable[Compared]) -> Iterator[Finding]:
    for one in compared:
        name = f"{one.method}, {one.noise} noise, p = {one.p}"
        tried = len(GRIDS[one.method][1])
        note = f"{_shown(one.setting)}, best of {tried}; {len(one.tails)} seeds that chose nothing"
        yield Finding(f"tail gradient norm, mean seed, {name}", None, float(one.tails.mean()), note)
        yield Finding(f"tail gradient norm, worst seed, {name}", None, float(one.tails.max()), note)


def _shown(setting: Setting) -> str:
    parts = [f"lr {setting.length:g}"]
    if setting.mixing < 1:
        parts.append(f"momentum {1 - setting.mixing:g}")
    if setting.clip < float("inf"):
        parts.append(f"clip {setting.clip:g}")
    return ", ".join(parts)


def _write_curves(curves: Sequence[LevelCurve], output: Path) -> None:
    slopes: list[Sequence[object]] = []
    levels: list[Sequence[object]] = []
    for one in curves:
        bound = rate_exponent(one.kind, one.p)
        numbers = [f"{number:.4f}" for number in (bound, one.whole_slope, one.tail_slope)]
        slopes.append([one.kind, one.noise, one.p, *numbers])
        for horizon, whole, tail in zip(one.horizons, one.levels.whole, one.levels.tail, strict=True):
            numbers = [f"{float(number):.6g}" for number in (whole.mean(), tail.mean(), tail.max())]
            levels.append([one.kind, one.noise, one.p, horizon, *numbers])
    run = ["method", "noise", "p"]
    heading = ["exponent of the theorem", "run average", "tail average"]
    write_table(output / "slopes.csv", [*run, *heading], slopes)
    heading = ["steps", "run average", "tail average", "worst seed's tail"]
    write_table(output / "levels.csv", [*run, *heading], levels)


def _comparison_row(one: Compared) -> Sequence[object]:
    setting = one.setting
    chosen = (f"{setting.length:g}", f"{1 - setting.mixing:g}", f"{setting.clip:g}")
    sizes = (f"{float(one.tails.mean()):.6g}", f"{float(one.tails.max()):.6g}")
    return one.method, one.noise, one.p, len(GRIDS[one.method][1]), *chosen, *sizes
