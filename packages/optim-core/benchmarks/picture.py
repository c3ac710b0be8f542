"""Draw what normalizing buys where gradient noise has no variance: the picture of docs/normalized.md.

    python packages/optim-core/benchmarks/picture.py OUT.svg [--p 1.2] [--steps 2000] [--seeds 16]

SGD, clipped SGD and NSGDC take the best setting of their grids in ``graftwork reproduce nsgdc`` (symmetric
stable noise whose p-th moment is just finite, ten dimensions), chosen with other seeds. Drawn is the norm of
the true gradient, a mean over 20 steps: of the mean seed, and dotted of the worst one. Needs matplotlib.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graftwork_optim_core import NSGDC
from graftwork_optim_core.reproductions.heavy_tails_measures import GRIDS, compare, noise
from graftwork_optim_core.reproductions.heavy_tails_runs import DIMENSIONS, START, Setting, curved_problem

BLOCK = 20
COLOURS = {"SGD": "#d1495b", "clipped SGD": "#2f8f52", "NSGDC": "#3a7fc4"}
INK, PAPER, GRID = "#24292f", "#ffffff", "#d0d7de"
IN_THE_DARK = {INK: "#e6edf3", PAPER: "#0d1117", GRID: "#30363d"}


def descended(method: str, setting: Setting, p: float, steps: int, seed: int) -> Tensor:
    """Return the norm of the true gradient at every step of a run, ``[steps]``."""
    weight = nn.Parameter(torch.full((DIMENSIONS,), START, dtype=torch.float64))
    optimizer: torch.optim.Optimizer = (
        NSGDC([weight], lr=setting.length, momentum=1 - setting.mixing)
        if method == "NSGDC"
        else torch.optim.SGD([weight], lr=setting.length)
    )
    drawn = noise("stable", p)((steps, DIMENSIONS), torch.Generator().manual_seed(seed))
    problem, norms = curved_problem(), torch.zeros(steps, dtype=torch.float64)
    for step in range(steps):
        gradient = problem.gradient(weight.detach()[None])[0]
        norms[step] = gradient.norm()
        sample = gradient + drawn[step]
        weight.grad = sample * (setting.clip / sample.norm()).clamp(max=1.0)
        optimizer.step()
    return norms


def draw(norms: dict[str, Tensor], path: Path) -> None:
    """Draw means over seeds and the worst of them; ``norms`` are ``[seeds, steps]`` by method."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    style: Any = dict.fromkeys(inked, INK)
    style |= {"svg.fonttype": "none", "svg.hashsalt": "heavy tails", "grid.color": GRID}
    with mpl.rc_context(style):
        figure = Figure(figsize=(5.6, 3.6), layout="constrained", facecolor=PAPER)
        axes = figure.subplots()
        axes.set_facecolor(PAPER)
        for method, values in norms.items():
            smooth = values.view(len(values), -1, BLOCK).mean(2)
            steps = [BLOCK * (block + 0.5) for block in range(smooth.shape[1])]
            axes.plot(steps, smooth.mean(0), color=COLOURS[method], linewidth=1.8, label=method)
            axes.plot(steps, smooth.max(0).values, color=COLOURS[method], linewidth=1.0, linestyle=":")
        axes.set(yscale="log", xlabel="step", ylabel="norm of the true gradient")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y")
        axes.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        figure.savefig(path, metadata={"Date": None})
    path.write_text(readable_in_the_dark(path.read_text("utf-8")), "utf-8")


def readable_in_the_dark(svg: str) -> str:
    """Return a picture that changes paper and ink where its reader has asked for a dark page."""
    rules = " ".join(
        f'[style*="{what}: {light}"] {{ {what}: {dark} !important }}'
        for light, dark in IN_THE_DARK.items()
        for what in ("fill", "stroke")
    )
    style = f"<style>@media (prefers-color-scheme: dark) {{ {rules} }}</style>"
    return svg.replace("<defs>", f"{style}\n <defs>", 1)


def main() -> None:
    """Choose settings, run, print the last half's means, and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", type=Path)
    parser.add_argument("--p", type=float, default=1.2)
    parser.add_argument("--steps", type=int, default=2000, help=f"a multiple of {2 * BLOCK}")
    parser.add_argument("--seeds", type=int, default=16)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    norms = {}
    for method in GRIDS:
        setting = compare(method, "stable", arguments.p, arguments.seeds, 1).setting
        runs = [
            descended(method, setting, arguments.p, arguments.steps, 1000 + n) for n in range(arguments.seeds)
        ]
        norms[method] = torch.stack(runs)
        tails = norms[method][:, arguments.steps // 2 :].mean(1)
        print(f"{method:12}  last half: mean {tails.mean():.3f}, worst seed {tails.max():.3f}   {setting}")
    draw(norms, arguments.path)


if __name__ == "__main__":
    main()
