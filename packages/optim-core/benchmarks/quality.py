"""Held-out loss of GWT-AdamW and AdamW after equal steps, each at its best learning rate of one stated grid.

The grid is searched with a seed that the comparison does not use; then both train with three others. Needs
graftwork-trainer beside this package. Figures go into OUT/quality.json, runs stay for `graftwork report`.

    python packages/optim-core/benchmarks/quality.py OUT [SETTING ...]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

GRIDS = {"adamw": ["1e-3", "2e-3", "4e-3", "8e-3"], "gwt-adamw": ["5e-3", "1e-2", "2e-2", "4e-2"]}
TUNING_SEED, SEEDS = 100, 3
METRICS = ("loss", "perplexity", "bits_per_byte")


def compare(
    out: Path, optimizer: str, rates: list[str], first_seed: int, seeds: int, settings: list[str]
) -> None:
    """Train every rate with every seed; what is finished already is kept."""
    chosen = [f"optimizer.name={optimizer}", f"trainer.seed={first_seed}", *settings]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "graftwork",
            "compare",
            "lm-pretrain",
            "--seeds",
            str(seeds),
            "--out",
            str(out),
            f"--over=optimizer.lr={','.join(rates)}",
            *(f"--set={setting}" for setting in chosen),
        ],
        check=False,  # a rate at which training diverges is a result too
    )


def final(out: Path, metric: str) -> dict[str, float]:
    """The final metric of every run, by its directory's name; infinite where training failed."""
    results = {path.parent.name: json.loads(path.read_text()) for path in out.glob("*/result.json")}
    return {
        name: result.get("metrics", {}).get(f"validation/{metric}", float("inf"))
        for name, result in results.items()
    }


def main(out: Path, settings: list[str]) -> None:
    """Search, train, print."""
    report = {}
    for optimizer, rates in GRIDS.items():
        compare(out / f"{optimizer}-grid", optimizer, rates, TUNING_SEED, 1, settings)
        grid = {
            rate: final(out / f"{optimizer}-grid", "loss")[f"lr-{float(rate)}-seed{TUNING_SEED}"]
            for rate in rates
        }
        best = min(grid, key=grid.__getitem__)
        compare(out / optimizer, optimizer, [best], 0, SEEDS, settings)
        report[optimizer] = {"grid": grid, "best": best} | {
            metric: sorted(final(out / optimizer, metric).values()) for metric in METRICS
        }
    (out / "quality.json").write_text(json.dumps(report, indent=2))
    for optimizer, found in report.items():
        searched = ", ".join(f"{rate}: {loss:.4f}" for rate, loss in found["grid"].items())
        edge = (
            " (at the edge of the grid)"
            if found["best"] in (GRIDS[optimizer][0], GRIDS[optimizer][-1])
            else ""
        )
        print(f"{optimizer}: loss by lr {searched}; best {found['best']}{edge}")
        for metric in METRICS:
            values = found[metric]
            spread = f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"
            print(f"  {metric:<14} {spread} over {len(values)} seeds")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
