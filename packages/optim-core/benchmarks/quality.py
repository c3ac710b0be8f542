"""Held-out loss after equal steps, each optimizer at its best learning rate of one stated grid.

GWT's and GaLore's recipes move the weights of attention and MLP by a quarter of the rate that embeddings,
head and norms move by. One contender has the same two rates and no transform (GWT at level 0, whose moments
are Adam's), so that a reader sees which of them made a difference. A rank is a quarter of the model's width,
as in the published runs; bases are refreshed every 50 steps, since these runs have 600 where the published
had 10 000 and more. APOLLO is the peer's, of the package pytorch_optimizer.

The grid is searched with a seed that the comparison does not use; then all train with three others. Needs
graftwork-text beside this package, and pytorch_optimizer for APOLLO. Figures go into OUT/quality.json, a
plot into OUT/quality.svg, runs stay for `graftwork report`; a contender that has its results already is not
trained again.

    python packages/optim-core/benchmarks/quality.py OUT [--only NAME,...] [--threads N] [SETTING ...]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graftwork.testing import write_plugin

TUNING_SEED, SEEDS = 100, 3
METRICS = ("loss", "perplexity", "bits_per_byte")
RANK = ("optimizer.rank=32", "optimizer.refresh_every=50")
ADAM_RATES = ("1e-3", "2e-3", "4e-3", "8e-3")
TWO_RATES = ("5e-3", "1e-2", "2e-2", "4e-2")
"""Where attention and MLP move by a quarter of these."""


@dataclass(frozen=True)
class Contender:
    """An optimizer with its settings and the learning rates to try."""

    name: str
    settings: tuple[str, ...]
    rates: tuple[str, ...]


CONTENDERS = (
    Contender("adamw", ("optimizer.name=adamw", "optimizer.fused=true"), ADAM_RATES),
    Contender(
        "adam-two-rates",
        ("optimizer.name=gwt-adamw", "optimizer.level=0"),
        ("2.5e-3", "5e-3", "1e-2", "2e-2"),
    ),
    Contender("two-rate-adamw", ("optimizer.name=two-rate-adamw",), ("2.5e-3", *TWO_RATES[:3])),
    Contender("muon", ("optimizer.name=gwt-muon", "optimizer.level=0"), ADAM_RATES[:3]),
    Contender("galore-adamw", ("optimizer.name=galore-adamw", *RANK), TWO_RATES),
    Contender("golore-adamw", ("optimizer.name=golore-adamw", "optimizer.scale=0.25", *RANK), TWO_RATES),
    Contender("gwt-adamw-1", ("optimizer.name=gwt-adamw", "optimizer.level=1"), TWO_RATES),
    Contender("gwt-adamw", ("optimizer.name=gwt-adamw",), TWO_RATES),
    Contender("gwt-adamw-3", ("optimizer.name=gwt-adamw", "optimizer.level=3"), TWO_RATES),
    Contender("apollo", ("optimizer.name=apollo",), TWO_RATES[1:]),
)

APOLLO = '''
"""APOLLO of pytorch_optimizer on the weights that Graftwork's optimizers transform."""

from graftwork import Component, Kind, hookimpl


def apollo(params, lr: float = 1e-2, rank: int = 32, refresh_every: int = 50, scale: float = 1.0):
    from pytorch_optimizer import APOLLO

    transformed, plain = params
    names = [[parameter for _, parameter in group["params"]] for group in (transformed, plain)]
    own = {"rank": rank, "update_proj_gap": refresh_every, "scale": scale, "projection_type": "std"}
    groups = [{"params": names[0], **own}, {"params": names[1]}]

    class Quiet(APOLLO):
        """Keeps its projectors, which are objects, out of the checkpoints; these runs are never resumed."""

        def state_dict(self):
            saved = super().state_dict()
            for state in saved["state"].values():
                state.pop("projector", None)
            return saved

    return Quiet(groups, lr=lr, scale_type="channel")


def _groups(model):
    from graftwork_optim_core import param_groups

    return param_groups(model)


apollo.select_parameters = _groups
apollo.step = apollo.zero_grad = apollo.load_state_dict = apollo.state_dict = None


@hookimpl
def graftwork_components():
    yield Component(Kind.OPTIMIZER, "apollo", "graftwork_apollo:apollo", "APOLLO of pytorch_optimizer")
'''


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


def results(out: Path) -> dict[str, dict[str, Any]]:
    """What every run left, by its directory's name."""
    return {path.parent.name: json.loads(path.read_text()) for path in out.glob("*/result.json")}


def final(out: Path, metric: str) -> dict[str, float]:
    """The final metric of every run, by its directory's name; infinite where training failed."""
    return {
        name: result.get("metrics", {}).get(f"validation/{metric}", float("inf"))
        for name, result in results(out).items()
    }


def train(out: Path, contender: Contender, settings: list[str]) -> None:
    """Search the grid, then train the best rate with the seeds that are reported."""
    searched = out / f"{contender.name}-grid"
    compare(searched, contender, list(contender.rates), TUNING_SEED, 1, settings)
    grid = grid_losses(out, contender)
    compare(out / contender.name, contender, [min(grid, key=grid.__getitem__)], 0, SEEDS, settings)


def grid_losses(out: Path, contender: Contender) -> dict[str, float]:
    """The loss of every rate of the grid."""
    losses = final(out / f"{contender.name}-grid", "loss")
    return {rate: losses.get(f"lr-{float(rate)}-seed{TUNING_SEED}", float("inf")) for rate in contender.rates}


def report_of(out: Path, contender: Contender) -> dict[str, Any]:
    """A contender's grid, its best rate, its metrics over the seeds, and the bytes of its state."""
    grid = grid_losses(out, contender)
    state = {result.get("optimizer_state_bytes") for result in results(out / contender.name).values()}
    return {
        "grid": grid,
        "best": min(grid, key=grid.__getitem__),
        "state_bytes": max((one for one in state if one), default=0),
        **{metric: sorted(final(out / contender.name, metric).values()) for metric in METRICS},
    }


def show(name: str, found: dict[str, Any]) -> None:
    """Print one contender's figures."""
    tried = ", ".join(f"{rate}: {loss:.4f}" for rate, loss in found["grid"].items())
    rates = list(found["grid"])
    edge = " (at the edge of the grid)" if found["best"] in (rates[0], rates[-1]) else ""
    print(
        f"{name}: loss by lr {tried}; best {found['best']}{edge}; "
        f"state {found['state_bytes'] / 2**20:.3f} MiB"
    )
    for metric in METRICS:
        values = found[metric]
        print(
            f"  {metric:<14} {statistics.mean(values):.4f} ± {statistics.stdev(values):.4f} of {len(values)}"
        )


def plot(report: dict[str, dict[str, Any]], path: Path) -> None:
    """Draw perplexity over the bytes of the state."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    for name, found in report.items():
        mean, spread = statistics.mean(found["perplexity"]), statistics.stdev(found["perplexity"])
        axes.errorbar(found["state_bytes"] / 2**20, mean, yerr=spread, fmt="o", capsize=3)
        axes.annotate(name, (found["state_bytes"] / 2**20, mean), (6, 4), textcoords="offset points")
    axes.set_xlabel("optimizer state, MiB")
    axes.set_ylabel("held-out perplexity after 600 steps")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def main() -> None:
    """Train what has no results, print and plot all that has."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", default="", help="names, separated by commas")
    parser.add_argument("--threads", type=int, help="of every run; torch's own number otherwise")
    parser.add_argument("settings", nargs="*")
    arguments = parser.parse_intermixed_args()
    out: Path = arguments.out
    chosen = [name for name in arguments.only.split(",") if name]
    with tempfile.TemporaryDirectory() as plugins:
        write_plugin(Path(plugins), "apollo", APOLLO)
        os.environ["PYTHONPATH"] = os.pathsep.join([plugins, os.environ.get("PYTHONPATH", "")])
        if arguments.threads:
            os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
        for contender in CONTENDERS:
            if (not chosen or contender.name in chosen) and len(final(out / contender.name, "loss")) < SEEDS:
                train(out, contender, arguments.settings)
    done = [one for one in CONTENDERS if len(final(out / one.name, "loss")) == SEEDS]
    report = {one.name: report_of(out, one) for one in done}
    (out / "quality.json").write_text(json.dumps(report, indent=2))
    for name, found in report.items():
        show(name, found)
    plot(report, out / "quality.svg")


if __name__ == "__main__":
    main()
