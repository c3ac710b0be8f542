"""Draw who reaches the known solution of a bilevel problem, and who stalls: the picture of docs/bilevel.md.

    python packages/decentral/benchmarks/picture.py OUT.svg [--times 8] [--steps 3000]

The runs are those of ``graftwork reproduce sparkle`` (problem Q, ten agents on a lazy ring, no noise) with
steps that many times larger than alpha 0.02 and beta = gamma 0.05. Needs matplotlib.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from graftwork_decentral.bilevel.quadratic import Quadratic
from graftwork_decentral.reproductions import sparkle_variants as variants
from graftwork_decentral.reproductions.sparkle_problem_q import ErrorCurve, descend
from graftwork_decentral.topology import ring

SHOWN = {
    variants.D_SOBA: ("#d1495b", "-"),
    variants.GT: ("#c9730f", "-"),
    variants.GT_ATC: ("#8a6bc1", "-"),
    variants.ED: ("#3a7fc4", "-"),
    variants.EXTRA: ("#2f8f52", "--"),
}
LEAST = 1e-28
INK, PAPER, GRID = "#24292f", "#ffffff", "#d0d7de"
IN_THE_DARK = {INK: "#e6edf3", PAPER: "#0d1117", GRID: "#30363d"}


def draw(curves: Sequence[ErrorCurve], path: Path) -> None:
    """Draw errors by step."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    style: Any = dict.fromkeys(inked, INK)
    style |= {"svg.fonttype": "none", "svg.hashsalt": "sparkle", "grid.color": GRID}
    with mpl.rc_context(style):
        figure = Figure(figsize=(5.6, 4.0), layout="constrained", facecolor=PAPER)
        axes = figure.subplots()
        axes.set_facecolor(PAPER)
        for curve in curves:
            colour, dashes = SHOWN[curve.variant]
            # Where the error is rounding alone, a line ends.
            ends = next((place for place, error in enumerate(curve.errors) if error < LEAST), None)
            steps, errors = curve.steps[:ends], curve.errors[:ends]
            axes.plot(steps, errors, color=colour, linestyle=dashes, linewidth=1.8, label=curve.variant.label)
        axes.set(yscale="log", xlabel="step", ylabel="sum over agents of |x - x*|²")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y")
        axes.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
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
    """Run, print the last errors, and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", type=Path)
    parser.add_argument("--times", type=float, default=8.0)
    parser.add_argument("--steps", type=int, default=3000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    problem, curves = Quadratic(), []
    for variant in SHOWN:
        curves.append(
            descend(
                variant, ring(10, lazy=True), times=arguments.times, steps=arguments.steps, problem=problem
            )
        )
        print(f"{variant.label:20} {curves[-1].errors[-1]:.2g} after {curves[-1].steps[-1]} steps")
    draw(curves, arguments.path)


if __name__ == "__main__":
    main()
