"""How much of the intended movement half-precision weights make: perturbed in place, or moved beside.

    python packages/optim-core/benchmarks/half_precision.py [--steps 500] [--seeds 3] [--out FOLDER]

A weight of 256 x 256 normal numbers of scale 0.02 makes steps of LOZO (rank 2, interval 50, eps 1e-3) whose
learning rate times slope is 1e-6 in size with random signs, which is the size of steps in fine-tuning. The
intended movement is that of the same steps in float64. The projection is the share of it that was made,
<made, intended> / <intended, intended>; the error is |made - intended| / |intended|: rounding moves weights
where nothing should. With ``--out`` a table and, where matplotlib is installed, a figure are written.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graftwork_optim_core import LOZO

CASES: Mapping[str, tuple[torch.dtype, Mapping[str, Any]]] = {
    "float32, in place": (torch.float32, {"backend": "inplace"}),
    "float32, beside": (torch.float32, {"backend": "sidepath"}),
    "float16, in place": (torch.float16, {"backend": "inplace"}),
    "float16, beside": (torch.float16, {"backend": "sidepath"}),
    "bfloat16, in place": (torch.bfloat16, {"backend": "inplace", "stochastic_rounding": False}),
    "bfloat16, beside, to nearest": (torch.bfloat16, {"backend": "sidepath", "stochastic_rounding": False}),
    "bfloat16, beside, stochastic": (torch.bfloat16, {"backend": "sidepath", "stochastic_rounding": True}),
}


def movement(dtype: torch.dtype, seed: int, steps: int, **options: Any) -> Tensor:
    """Return by how much a weight has moved, in float64."""
    generator = torch.Generator().manual_seed(seed)
    start = (torch.randn(256, 256, generator=generator) * 0.02).bfloat16().to(dtype)
    signs = torch.randint(0, 2, (steps,), generator=generator).mul(2).sub(1)
    weight = nn.Parameter(start.clone())
    optimizer = LOZO([weight], lr=1e-6, rank=2, interval=50, seed=seed, **options)
    for sign in signs:
        optimizer.step_with_slopes(
            sign.to(torch.float64 if dtype == torch.float64 else torch.float32).view(1)
        )
    optimizer.merge()
    return weight.detach().double() - start.double()


def measured(seeds: int, steps: int) -> dict[str, list[tuple[float, float]]]:
    """Return projection and error of every case and seed."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in CASES}
    for seed in range(seeds):
        intended = movement(torch.float64, seed, steps, backend="sidepath")
        for name, (dtype, options) in CASES.items():
            made = movement(dtype, seed, steps, **options)
            projection = float((made * intended).sum() / intended.square().sum())
            found[name].append((projection, float((made - intended).norm() / intended.norm())))
    return found


def plot(found: Mapping[str, list[tuple[float, float]]], path: Path) -> None:
    """Draw projections and errors, a row a case."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    shares, errors = figure.subplots(1, 2, sharey=True)
    for place, values in enumerate(found.values()):
        for axes, index in ((shares, 0), (errors, 1)):
            axes.plot([value[index] for value in values], [place] * len(values), "o", color=f"C{place}")
    shares.axvline(1.0, color="grey", linestyle=":")
    shares.set(xlabel="share of the intended movement", yticks=range(len(found)), yticklabels=list(found))
    shares.invert_yaxis()
    errors.axvline(1.0, color="grey", linestyle=":")
    errors.set(xlabel="error over the intended movement", xscale="log")
    figure.savefig(path)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = measured(arguments.seeds, arguments.steps)
    print(f"{'':30}  {'projection (min to max)':26}  error (min to max)")
    for name, values in found.items():
        cells = []
        for index in (0, 1):
            column = [value[index] for value in values]
            cells.append(f"{statistics.fmean(column):.3g} ({min(column):.3g} to {max(column):.3g})")
        print(f"{name:30}  {cells[0]:26}  {cells[1]}")
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        with (arguments.out / "half_precision.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["case", "seed", "projection", "error"])
            for name, values in found.items():
                writer.writerows([name, seed, *value] for seed, value in enumerate(values))
        try:
            plot(found, arguments.out / "half_precision.svg")
        except ImportError:
            print("no figure: matplotlib is not installed")


if __name__ == "__main__":
    main()
