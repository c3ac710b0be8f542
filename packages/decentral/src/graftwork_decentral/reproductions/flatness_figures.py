"""Figures of the flatness reproduction; they need matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from graftwork_decentral.flatness.lab import DoubleWell
from graftwork_decentral.flatness.methods import Method
from graftwork_decentral.reproductions.flatness_cases import (
    BATCHES,
    COMPARED,
    EXITS,
    GRAPHS,
    REFERENCE_LINE,
    SHARES,
    ExitRow,
    HorizonRow,
    RiskRow,
    ShareRow,
)

_COLOURS: dict[Method, str] = {"centralized": "C7", "diffusion": "C0", "consensus": "C3"}
_SPREAD: dict[Method, float] = {"centralized": -0.2, "diffusion": 0.0, "consensus": 0.2}
_HOLLOW = {"marker": "o", "linestyle": "none", "mfc": "none", "mec": "black", "zorder": 1}


def draw_excess_risk(
    horizons: Sequence[HorizonRow], batches: Sequence[RiskRow], graphs: Sequence[RiskRow], path: Path
) -> None:
    """Draw excess risk against steps, batch and graph: lines and bars are exact, dots simulated."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.2), layout="constrained")
    of_steps, of_batch, of_graph = figure.subplots(1, 3)
    for method in COMPARED:
        colour = _COLOURS[method]
        curve = [row for row in horizons if row.method == method]
        of_steps.plot([row.steps for row in curve], [row.exact for row in curve], color=colour, label=method)
        dots = curve[::5]
        of_steps.plot([row.steps for row in dots], [row.simulated for row in dots], "o", color=colour, ms=4)
        _batches(of_batch, [row for row in batches if row.method == method], colour)
        bars = [row for row in graphs if row.method == method]
        spots = [GRAPHS.index(row.graph) + _SPREAD[method] - 0.1 for row in bars]
        of_graph.bar(spots, [row.exact for row in bars], 0.18, color=colour, alpha=0.5)
        of_graph.plot(spots, [row.simulated for row in bars], "o", color=colour, ms=4)
    of_steps.plot([], [], "o", color="black", ms=4, label="simulated")
    of_steps.legend(fontsize="small")
    of_steps.set(xlabel="steps from the minimum", ylabel="excess risk", yscale="log")
    of_steps.set_title("Leaving a minimum (lazy ring, single samples)", fontsize="medium")
    of_batch.set_xticks(
        [_position(batch) for batch in BATCHES], [*(f"{batch:g}" for batch in BATCHES[:-1]), "all"]
    )
    of_batch.annotate(
        "centralized: 0",
        (_position(math.inf) - 0.35, 3.2e-5),
        color=_COLOURS["centralized"],
        ha="center",
        fontsize="small",
    )
    of_batch.set(
        xlabel="samples per agent and step",
        ylabel="excess risk",
        yscale="log",
        xlim=(-0.5, 11.2),
        ylim=(2e-5, 0.2),
    )
    of_batch.set_title("Large batches (ring)", fontsize="medium")
    level = next(row.exact for row in batches if row.method == "centralized" and row.batch_size == 1)
    of_graph.axhline(level, color=_COLOURS["centralized"], linestyle="--", label="centralized, any graph")
    of_graph.legend(fontsize="small", loc="upper left")
    of_graph.set_xticks(range(len(GRAPHS)), GRAPHS)
    of_graph.set(ylabel="excess risk")
    of_graph.set_title("Graphs (single samples)", fontsize="medium")
    figure.savefig(path, dpi=130)


def _batches(axes: Any, rows: Sequence[RiskRow], colour: str) -> None:
    # Where the exact value is zero there is nothing that a logarithmic axis could show.
    shown = [row for row in rows if row.exact > 0]
    axes.plot([_position(row.batch_size) for row in shown], [row.exact for row in shown], color=colour)
    found = [row for row in shown if row.simulated is not None]
    axes.plot(
        [_position(row.batch_size) for row in found],
        [row.simulated for row in found],
        "o",
        color=colour,
        ms=5,
    )


def _position(batch_size: float) -> float:
    return math.log2(batch_size) if math.isfinite(batch_size) else math.log2(BATCHES[-2]) + 2


def draw_escape(well: DoubleWell, exits: Sequence[ExitRow], shares: Sequence[ShareRow], path: Path) -> None:
    """Draw the double well, mean exit times and shares of the flat well; hollow marks are the reference."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.2), layout="constrained")
    landscape, times, ends = figure.subplots(1, 3, width_ratios=[1, 1.5, 1.1])
    grid = torch.linspace(-2.1, 3.2, 600, dtype=torch.float64)
    landscape.plot(grid, well.value(grid[:, None]), color="black")
    for place, colour, style, label in (
        (well.barrier, "C2", "--", f"barrier {well.barrier:.3f}"),
        (REFERENCE_LINE, "C1", ":", f"line {REFERENCE_LINE} of the reference"),
    ):
        landscape.plot([place, place], [0, 2.6], color=colour, linestyle=style, label=label)
    landscape.set(ylim=(0, 4), xlabel="w", ylabel="J(w)")
    landscape.set_title("A sharp and a flat well", fontsize="medium")
    landscape.legend(fontsize="small", loc="upper center")
    _exits(times, exits)
    for method in COMPARED:
        rows = [row for row in shares if row.method == method]
        spots = [index + _SPREAD[method] for index in range(len(rows))]
        values, errors = [row.share for row in rows], [row.standard_error for row in rows]
        ends.errorbar(spots, values, errors, fmt="o", color=_COLOURS[method], ms=5, capsize=3)
        ends.plot(spots, [row.reference for row in rows], ms=10, **_HOLLOW)
    ends.set_xticks(range(len(SHARES)), [_named(cell) for cell in SHARES])
    ends.set(ylim=(0.55, 1.03), ylabel="share", xlim=(-0.5, len(SHARES) - 0.5))
    ends.set_title("Uniform starts that end in the flat well", fontsize="medium")
    ends.grid(axis="y", alpha=0.3)
    figure.savefig(path, dpi=130)


def _exits(axes: Any, exits: Sequence[ExitRow]) -> None:
    cells = list(EXITS)
    for method in COMPARED:
        rows = [row for row in exits if row.method == method and row.line == REFERENCE_LINE]
        spots = [cells.index((row.sigma, row.beta)) + _SPREAD[method] for row in rows]
        means, errors = [row.mean for row in rows], [row.standard_error for row in rows]
        axes.errorbar(spots, means, errors, fmt="o", color=_COLOURS[method], ms=5, capsize=3, label=method)
        axes.plot(spots, [row.reference for row in rows], ms=10, **_HOLLOW)
        for spot, row in zip(spots, rows, strict=True):
            if method == "centralized":
                last = max(index for index, cell in enumerate(cells) if cell[0] == row.sigma)
                axes.plot([spot, last + 0.2], [row.mean] * 2, ":", color=_COLOURS[method])
                text = "any beta"
                if row.censored:
                    text += f", {row.censored:.0%} censored"
                axes.annotate(text, (last + 0.2, row.mean * 0.62), ha="right", va="top", fontsize="small")
    axes.plot([], [], ms=8, label="reference", **_HOLLOW)
    axes.set_xticks(range(len(cells)), [_named(cell) for cell in cells])
    axes.set(yscale="log", ylabel="steps", xlim=(-0.5, len(cells) - 0.5))
    axes.set_title(f"Mean time to leave the sharp well (line {REFERENCE_LINE})", fontsize="medium")
    axes.legend(fontsize="small", ncols=2, loc="upper left")
    axes.grid(axis="y", alpha=0.3)


def _named(cell: tuple[float, float]) -> str:
    return f"noise {cell[0]:g}\nbeta {cell[1]:g}"
