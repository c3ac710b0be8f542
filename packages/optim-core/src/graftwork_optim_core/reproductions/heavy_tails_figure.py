"""The figure of the reproduction of normalized SGD: how fast levels fall, and what the worst seed does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from graftwork_optim_core.normalized.schedules import rate_exponent
from graftwork_optim_core.reproductions.heavy_tails_measures import Compared, LevelCurve

_COLOURS = {"nsgdc": "C0", "a-nsgdc": "C1", "nsgdc-vr": "C2"}
_METHODS = {"SGD": "C3", "clipped SGD": "C4", "NSGDC": "C0"}


def draw_figure(
    curves: Sequence[LevelCurve],
    compared: Sequence[Compared],
    plateaus: dict[float, list[Tensor]],
    plateau_horizons: Sequence[int],
    path: Path,
) -> None:
    """Draw levels by length of the run, the plateau without momentum, and mean and worst seed.

    Args:
        curves: of all methods and noises.
        compared: of the tuned ones.
        plateaus: by p, tail levels without and with momentum.
        plateau_horizons: lengths of those runs.
        path: of the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 11), layout="constrained")
    indices = sorted({one.p for one in curves})
    grid = figure.subplots(3, len(indices))
    for place, p in enumerate(indices):
        _levels(grid[0][place], [one for one in curves if one.p == p and one.noise == "stable"], p)
    for place, p in enumerate(indices[:-1]):
        _plateau(grid[1][place], plateaus[p], plateau_horizons, p)
    _comparison(grid[1][-1], [one for one in compared if one.noise == "stable"], "symmetric stable noise")
    for place, p in enumerate(indices):
        _seeds(grid[2][place], [one for one in compared if one.noise == "pareto" and one.p == p], p)
    figure.savefig(path, dpi=120)


def _levels(axes: Any, curves: Sequence[LevelCurve], p: float) -> None:
    for one in curves:
        tails, colour = one.levels.tail.mean(1), _COLOURS[one.kind]
        axes.plot(one.horizons, tails, color=colour, marker="o", label=f"{one.kind}, last half")
        whole = one.levels.whole.mean(1)
        axes.plot(one.horizons, whole, color=colour, linestyle="--", alpha=0.5, label="the same, whole run")
        bound = rate_exponent(one.kind, p)
        start = float(tails[0])
        line = [start * (horizon / one.horizons[0]) ** -bound for horizon in one.horizons]
        axes.plot(one.horizons, line, color=colour, linestyle=":", label="the bound's slope")
    axes.set(xscale="log", yscale="log", xlabel="steps of the run", ylabel="mean gradient norm")
    axes.set_title(f"symmetric stable noise, p = {p}", fontsize="small")
    axes.legend(fontsize="xx-small")


def _plateau(axes: Any, pair: Sequence[Tensor], horizons: Sequence[int], p: float) -> None:
    for name, tails, colour in zip(("no momentum", "momentum"), pair, ("C5", "C0"), strict=True):
        axes.plot(horizons, tails, marker="o", color=colour, label=name)
    axes.set(xscale="log", xlabel="steps of the run", ylabel="gradient norm, last half")
    axes.set_title(f"skewed (Pareto) noise, p = {p}: why momentum is needed", fontsize="small")
    axes.legend(fontsize="x-small")


def _comparison(axes: Any, compared: Sequence[Compared], title: str) -> None:
    for method, colour in _METHODS.items():
        own = [one for one in compared if one.method == method]
        places = [one.p for one in own]
        axes.plot(places, [float(one.tails.mean()) for one in own], color=colour, marker="o", label=method)
        worst = [float(one.tails.max()) for one in own]
        axes.plot(places, worst, color=colour, marker="v", linestyle=":")
    axes.set(yscale="log", xlabel="p", ylabel="gradient norm, last half")
    axes.set_title(f"tuned, {title}; dotted: worst of the seeds", fontsize="small")
    axes.legend(fontsize="x-small")


def _seeds(axes: Any, compared: Sequence[Compared], p: float) -> None:
    for place, one in enumerate(compared):
        sizes = one.tails.sort().values
        axes.plot([place] * len(sizes), sizes, ".", color=_METHODS[one.method], alpha=0.6)
        axes.plot([place - 0.2, place + 0.2], [float(sizes.mean())] * 2, color="black")
    axes.set(yscale="log", ylabel="gradient norm, last half", xticks=range(len(compared)))
    axes.set_xticklabels([one.method for one in compared])
    axes.set_title(f"tuned, Pareto noise, p = {p}: a dot a seed, a line the mean", fontsize="small")
