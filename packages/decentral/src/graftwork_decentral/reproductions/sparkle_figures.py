"""The three figures of the reproduction of SPARKLE."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from graftwork_decentral.reproductions.sparkle_hyper_cleaning import CleaningRun
from graftwork_decentral.reproductions.sparkle_problem_q import ErrorCurve
from graftwork_decentral.reproductions.sparkle_topology import TopologyPoint


def draw_problem_q(curves: Sequence[ErrorCurve], path: Path) -> None:
    """Draw the error over steps, a panel each setting."""
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys(curve.panel for curve in curves))
    figure = Figure(figsize=(5 * len(panels), 4.6), layout="constrained")
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(grid, panels, strict=True):
        for curve in (one for one in curves if one.panel == panel):
            axes.plot(
                curve.steps,
                np.maximum(curve.errors, 1e-30),
                color=curve.variant.colour,
                linestyle=curve.variant.dashes,
                label=curve.variant.label,
            )
        axes.set(yscale="log", ylim=(1e-30, 1e3), xlabel="step")
        axes.set_title(panel, fontsize="medium")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    grid[0].set_ylabel("sum over agents of |x - x*|²")
    figure.suptitle("Quadratic problem with known solution, 10 agents")
    figure.savefig(path, dpi=130)


def draw_hyper_cleaning(runs: Sequence[CleaningRun], path: Path) -> None:
    """Draw accuracy of the worst agent, quality of the weights and disagreement: mean and range of seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(16, 4.8), layout="constrained")
    grid = figure.subplots(1, 3)
    last = max(run.moments[-1].step for run in runs)
    cheapest = min(run.moments[-1].evaluations for run in runs)
    for label in dict.fromkeys(run.variant.label for run in runs):
        own = [run for run in runs if run.variant.label == label]
        style = {"color": own[0].variant.colour, "linestyle": own[0].variant.dashes, "label": label}
        evaluations = [moment.evaluations for moment in own[0].moments]
        steps = [moment.step for moment in own[0].moments]
        for axes, places, name in (
            (grid[0], evaluations, "worst"),
            (grid[1], evaluations, "auc"),
            (grid[2], steps, "disagreement"),
        ):
            values = np.array([[getattr(moment, name) for moment in run.moments] for run in own])
            axes.plot(places, values.mean(0), **style)
            axes.fill_between(places, values.min(0), values.max(0), color=style["color"], alpha=0.12, lw=0)
    # What separates the methods is over early.
    grid[0].set(ylabel="test accuracy of the worst agent", xlim=(0, 0.4 * cheapest))
    grid[1].set(ylabel="AUC: weight finds the wrong label", xlim=(0, 0.4 * cheapest), ylim=(0.5, 1))
    grid[2].set(ylabel="|Y - mean over agents|", yscale="log", xlim=(0, last), xlabel="step")
    for axes in grid[:2]:
        axes.set_xlabel("gradients and products an agent has computed")
    for axes in grid:
        axes.grid(alpha=0.3)
    grid[0].legend(fontsize="small", loc="lower right")
    figure.suptitle(
        "Hyper-cleaning of digits, 60 % wrong labels, 10 agents on a lazy ring, Dirichlet 0.1 "
        f"(line: mean of {len({run.seed for run in runs})} seeds, band: their range)"
    )
    figure.savefig(path, dpi=130)


def draw_topology(points: Sequence[TopologyPoint], path: Path) -> None:
    """Draw what the gap of one level's ring does, the other level's being fixed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    pairs = list(dict.fromkeys(point.pair for point in points))  # ED nearly hides EXTRA: markers shrink
    for pair in pairs:
        for varied, dashes in (("lower and auxiliary", "-"), ("upper", "--")):
            own = [point for point in points if (point.pair, point.varied) == (pair, varied)]
            style = {
                "color": f"C{pairs.index(pair)}",
                "linestyle": dashes,
                "marker": "o",
                "ms": 9 - 2 * pairs.index(pair),
            }
            solved = [point for point in own if point.steps_to_solve is not None]
            label = f"{pair}, {varied} ring varied"
            left.plot(
                [point.gap for point in solved],
                [point.steps_to_solve for point in solved],
                label=label,
                **style,
            )
            right.plot(
                [point.gap for point in own], [point.worst_accuracy for point in own], label=label, **style
            )
    left.set(ylabel="steps to error 1e-10 (missing: not reached)", ylim=(0, None))
    left.set_title("quadratic problem", fontsize="medium")
    right.set(ylabel="worst agent's accuracy at step 50")
    right.set_title("digits hyper-cleaning", fontsize="medium")
    for axes in (left, right):
        axes.set(xscale="log", xlabel="spectral gap of the varied ring")
        axes.invert_xaxis()
        axes.grid(alpha=0.3, which="both")
    right.legend(fontsize="small")
    figure.savefig(path, dpi=130)
