"""Held-out loss of GWT-AdamW and AdamW after equal steps, each at its best learning rate of one stated grid.

GWT's recipe moves the weights of attention and MLP by a quarter of the rate that embeddings, head and norms
move by. A third contender has the same two rates and the same limiter and no wavelets (GWT at level 0, whose
moments are Adam's), so that a reader sees which of them made a difference.

The grid is searched with a seed that the comparison does not use; then all train with three others. Needs
graftwork-trainer beside this package. Figures go into OUT/quality.json, runs stay for `graftwork report`.

    python packages/optim-core/benchmarks/quality.py OUT [SETTING ...]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

TUNING_SEED, SEEDS = 100, 3
METRICS = ("loss", "perplexity", "bits_per_byte")


@dataclass(frozen=True)
class Contender:
    """An optimizer with its settings and the learning rates to try."""

    name: str
    settings: tuple[str, ...]
    rates: tuple[str, ...]


CONTENDERS = (
    Contender("adamw", ("optimizer.name=adamw",), ("1e-3", "2e-3", "4e-3", "8e-3")),
    Contender(
        "adam-two-rates",
        ("optimizer.name=gwt-adamw", "optimizer.level=0"),
        ("2.5e-3", "5e-3", "1e-2", "2e-2"),
    ),
    Contender("gwt-adamw", ("optimizer.name=gwt-adamw",), ("5e-3", "1e-2", "2e-2", "4e-2")),
)


def compare(
    out: Path, contender: Contender, rates: list[str], first_seed: int, seeds: int, settings: list[str]
) -> None:
    """Train every rate with every seed; what is finished already is kept."""
    chosen = [*contender.settings, f"trainer.seed={first_seed}", *settings]
    command = [sys.executable, "-m", "graftwork", "compare", "lm-pretrain", "--out", str(out)]
    subprocess.run(
        [
            *command,
            f"--seeds={seeds}",
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
    for contender in CONTENDERS:
        searched = out / f"{contender.name}-grid"
        compare(searched, contender, list(contender.rates), TUNING_SEED, 1, settings)
        losses = final(searched, "loss")
        grid = {rate: losses[f"lr-{float(rate)}-seed{TUNING_SEED}"] for rate in contender.rates}
        best = min(grid, key=grid.__getitem__)
        compare(out / contender.name, contender, [best], 0, SEEDS, settings)
        report[contender.name] = {"grid": grid, "best": best} | {
            metric: sorted(final(out / contender.name, metric).values()) for metric in METRICS
        }
    (out / "quality.json").write_text(json.dumps(report, indent=2))
    for contender in CONTENDERS:
        found = report[contender.name]
        tried = ", ".join(f"{rate}: {loss:.4f}" for rate, loss in found["grid"].items())
        edge = (
            " (at the edge of the grid)" if found["best"] in (contender.rates[0], contender.rates[-1]) else ""
        )
        print(f"{contender.name}: loss by lr {tried}; best {found['best']}{edge}")
        for metric in METRICS:
            values = found[metric]
            spread = f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"
            print(f"  {metric:<14} {spread} over {len(values)} seeds")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
