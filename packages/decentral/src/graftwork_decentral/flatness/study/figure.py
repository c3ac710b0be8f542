"""Excess risk against flatness, and the metric on held-out data against flatness; needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graftwork_decentral.extras import FIGURES
from graftwork_decentral.flatness.study.cells import CENTRALIZED
from graftwork_decentral.flatness.study.groups import SeedGroup

_COLOURS = {CENTRALIZED: "0.4", "diffusion": "C0", "consensus": "C3"}
_FURTHER = ("C2", "C4", "C1", "C5", "C6", "C8", "C9")
_MARKERS = "osD^vP*X<>"
# Diffusion on the full graph lies under centralized, exactly.
_HOLLOW: dict[bool, dict[str, Any]] = {
    False: {"mec": "white", "mew": 0.8},
    True: {"mfc": "none", "mec": _COLOURS[CENTRALIZED], "mew": 2.2},
}
_FAR_APART = 4.0
_FLATNESS = "bottom_hessian_trace"
_RISKS = (
    ("excess_risk_agents", "excess risk of agents"),
    ("risk_over_start_agents", "risk of agents over the start"),
    ("train_loss_agents", "training loss of agents"),
)
_METRICS = (
    ("validation_accuracy", "held-out accuracy of the centroid"),
    ("validation_loss", "held-out loss"),
)


def draw_flatness(groups: Sequence[SeedGroup], path: Path) -> None:
    """Draw one mark a method, graph and batch size: colour, shape and size; bars are the spread over seeds.

    Nothing is drawn where the Hessian trace was not measured.

    Args:
        groups: of rows.
        path: of the picture.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    groups = [group for group in groups if group.mean(_FLATNESS) is not None]
    panels = [
        next(((name, label) for name, label in among if any(g.mean(name) is not None for g in groups)), None)
        for among in (_RISKS, _METRICS)
    ]
    shown = [panel for panel in panels if panel is not None]
    if not groups or not shown:
        return
    FIGURES.require(str(path))
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4 * len(shown) + 1.8, 4.8), layout="constrained")
    grid = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, (name, label) in zip(grid, shown, strict=True):
        _panel(axes, groups, name, label)
    figure.legend(handles=_legend(groups), loc="outside right upper", fontsize="small", frameon=False)
    figure.savefig(path, dpi=130)


def _panel(axes: Any, groups: Sequence[SeedGroup], name: str, label: str) -> None:
    for group in groups:
        height = group.mean(name)
        if height is None:
            continue
        colour = _colour(groups, group.method)
        spot = group.mean(_FLATNESS), height
        spreads = {"xerr": group.spread(_FLATNESS), "yerr": group.spread(name)}
        axes.errorbar(*spot, **spreads, color=colour, elinewidth=1, capsize=2, linestyle="none", zorder=2)
        axes.plot(
            *spot,
            marker=_marker(groups, group.graph),
            ms=_size(groups, group.batch_size),
            color=colour,
            linestyle="none",
            zorder=3,
            **_HOLLOW[group.method == CENTRALIZED],
        )
    _scale(axes.set_xscale, axes.xaxis, [group.mean(_FLATNESS) for group in groups])
    if name in dict(_RISKS):
        _scale(axes.set_yscale, axes.yaxis, [group.mean(name) for group in groups])
    axes.set(xlabel="Hessian trace at the bottom (flatter: left)", ylabel=label)
    axes.grid(alpha=0.25, which="both")


def _scale(set_scale: Any, axis: Any, values: Sequence[float | None]) -> None:
    """Make an axis logarithmic where values are positive and far apart, with plain numbers at its ticks."""
    from matplotlib.ticker import LogLocator, NullFormatter

    known = [value for value in values if value is not None]
    if known and min(known) > 0 and max(known) > _FAR_APART * min(known):
        set_scale("log")
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())


def _legend(groups: Sequence[SeedGroup]) -> list[Any]:
    from matplotlib.lines import Line2D

    def mark(label: str, colour: str, marker: str, size: float, **style: Any) -> Line2D:
        return Line2D([], [], linestyle="none", label=label, color=colour, marker=marker, ms=size, **style)

    methods = dict.fromkeys(group.method for group in groups)
    graphs = dict.fromkeys(group.graph for group in groups)
    batches = sorted({group.batch_size for group in groups})
    return [
        *(
            mark(method, _colour(groups, method), "o", 8, **_HOLLOW[method == CENTRALIZED])
            for method in methods
        ),
        *(mark(graph, "black", _marker(groups, graph), 7) for graph in graphs),
        *(mark(f"batch {batch}", "0.75", "o", _size(groups, batch)) for batch in batches),
    ]


def _colour(groups: Sequence[SeedGroup], method: str) -> str:
    others = [one for one in dict.fromkeys(g.method for g in groups) if one not in _COLOURS]
    return _COLOURS.get(method) or _FURTHER[others.index(method) % len(_FURTHER)]


def _marker(groups: Sequence[SeedGroup], graph: str) -> str:
    return _MARKERS[list(dict.fromkeys(g.graph for g in groups)).index(graph) % len(_MARKERS)]


def _size(groups: Sequence[SeedGroup], batch_size: int) -> float:
    batches = sorted({group.batch_size for group in groups})
    return 8 + 6 * batches.index(batch_size) / max(len(batches) - 1, 1)
