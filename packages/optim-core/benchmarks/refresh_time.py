"""Time of GaLore's new bases: each method beside a full SVD, and what a step costs in which they are taken.

    python packages/optim-core/benchmarks/refresh_time.py [--threads 1 2] [--rounds 5] [--refresh-every 200]
        [--only bases step staggered]

1. Each method on the gradients of a LLaMA's layer of width 512, rank 128, beside ``torch.linalg.svd``, which
   GaLore as published and galore-torch call.
2. One step in which every weight takes a new basis, of the layers that ``--layers`` says.
3. A run of 8 layers whose refreshes are staggered: its dearest step beside its median one. The same step of
   every period refreshes the same weights; of its times the least is taken, since a disturbance only adds.
   Steps before every weight has its first basis are left out: the very first takes all of them.

Nothing is reported if a basis is wrong.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from peers import (
    BLOCK,
    LAYERS,
    RANK,
    Bar,
    Build,
    Clock,
    Ratio,
    Weights,
    arguments_of,
    built,
    clock_of,
    galore_torch,
    llama,
    print_bars,
    print_machine,
    print_table,
    take_turns,
)
from torch import Tensor
from torch.optim import Optimizer

from graftwork_optim_core import GaLoreAdamW, GoLoreAdamW
from graftwork_optim_core.lowrank.bases import BasisMethod, basis_of
from graftwork_optim_core.lowrank.sides import bases_of

METHODS: tuple[BasisMethod, ...] = ("svd", "gram", "rsvd", "power", "random")
SVD = "torch.linalg.svd"
BARS = (
    Bar("gram", SVD, 1 / 2.5),
    Bar("power", SVD, 1 / 12),
    Bar("random", SVD, 1 / 30),
)
STEP_BARS = tuple(
    Bar(f"GaLoreAdamW, {method}" if method != "random" else "GoLoreAdamW, random", "galore-torch", most)
    for method, most in (("gram", 1 / 2.5), ("power", 1 / 12), ("random", 1 / 30))
)
MOST_OVER_MEDIAN = 2.0
PERIODS = 2


def side_of(shape: tuple[int, int]) -> Literal["left", "right"]:
    """Return the side of GaLore's published projection."""
    return "right" if bases_of("std", shape) == ("basis_right",) else "left"


def gradient_of(shape: tuple[int, int], seed: int) -> Tensor:
    """Return a gradient whose singular values fall off by a power, as those of training do."""
    generator = torch.Generator().manual_seed(seed)
    rows, width = shape
    least = min(shape)
    left = torch.linalg.qr(torch.randn(rows, least, generator=generator))[0]
    right = torch.linalg.qr(torch.randn(width, least, generator=generator))[0]
    values = torch.arange(1, least + 1, dtype=torch.float32).pow(-0.8)
    gradient: Tensor = (left * values) @ right.T * 0.1
    return gradient


def captured(gradient: Tensor, basis: Tensor, side: str) -> float:
    """Return the fraction of the gradient's squared norm that lies in a basis."""
    matrix, directions = gradient.double(), basis.double()
    coarse = matrix @ directions if side == "right" else directions.T @ matrix
    return float(coarse.square().sum() / matrix.square().sum())


def check_bases(gradients: dict[tuple[int, int], Tensor]) -> None:
    """Stop the program if a basis is not orthonormal, or does not hold what its method promises."""
    least = {"svd": 0.9999, "gram": 0.9999, "rsvd": 0.99, "power": 0.99, "random": 0.0}
    for shape, gradient in gradients.items():
        side = side_of(shape)
        singular = torch.linalg.svdvals(gradient.double()).square()
        best = float(singular[:RANK].sum() / singular.sum())
        near = basis_of("svd", gradient + 1e-4 * torch.randn(shape), RANK, side).basis
        for method in METHODS:
            basis = basis_of(method, gradient, RANK, side, previous=near).basis
            if basis is None:
                sys.exit(f"{method}: no basis of a gradient of shape {shape}; nothing is timed")
            error = float((basis.T @ basis - torch.eye(RANK)).abs().max())
            share = captured(gradient, basis, side) / best
            if not (error < 1e-4 and share >= least[method]):
                sys.exit(
                    f"{method}, shape {shape}: orthonormal to {error:.1e}, holds {share:.4f} of what the "
                    "leading directions hold; nothing is timed"
                )


def measure_bases(rounds: int, clock: Clock) -> None:
    """Print the time of each method on a layer's gradients."""
    gradients = {shape: gradient_of(shape, 0) for shape in dict.fromkeys(BLOCK)}
    check_bases(gradients)
    previous = {
        shape: basis_of("svd", gradient_of(shape, 1), RANK, side_of(shape)).basis for shape in gradients
    }

    def every(find: Callable[[tuple[int, int], Tensor], object], shapes: list[tuple[int, int]]) -> None:
        for shape in shapes:
            find(shape, gradients[shape])

    def ours(method: BasisMethod, shape: tuple[int, int], gradient: Tensor) -> object:
        return basis_of(method, gradient, RANK, side_of(shape), previous=previous[shape])

    def full_svd(_: tuple[int, int], gradient: Tensor) -> object:
        return torch.linalg.svd(gradient, full_matrices=False)

    finders: dict[str, Callable[[tuple[int, int], Tensor], object]] = {SVD: full_svd}
    finders |= {method: partial(ours, method) for method in METHODS}
    for title, shapes in (
        *((f"one basis, gradient {rows} x {width}", [(rows, width)]) for rows, width in gradients),
        ("the seven bases of a layer", list(BLOCK)),
    ):
        calls = {name: partial(every, find, shapes) for name, find in finders.items()}
        seconds = take_turns(calls, rounds, clock, warm_up=1)
        print_table(title, seconds, SVD, {"times faster": faster(seconds, SVD)})
    print_bars(seconds, BARS)


def faster(seconds: dict[str, list[float]], base: str) -> dict[str, str]:
    """Return by what factor each is faster than a base."""
    return {name: f"{1 / Ratio.of(times, seconds[base]).median:.1f}" for name, times in seconds.items()}


def galore(basis: str, weights: Weights, **options: Any) -> Optimizer:
    """Return GaLore with one way to its bases; GoLore where they are random."""
    own = {"lr": 1e-4, "scale": 0.25, "rank": RANK, **options}
    groups = weights.groups({}, {"plain": True, "fused": False})
    if basis == "random":
        return GoLoreAdamW(groups, random_last=1.0, moments="keep", **own)
    return GaLoreAdamW(groups, basis=basis, **own)  # type: ignore[arg-type]


def measure_step(rounds: int, layers: int, clock: Clock) -> None:
    """Print the time of a step in which every weight takes a new basis."""
    builders: dict[str, Build] = {"galore-torch": partial(galore_torch, refresh_every=1)}
    for method in METHODS:
        name = "GoLoreAdamW, random" if method == "random" else f"GaLoreAdamW, {method}"
        builders[name] = partial(galore, method, refresh_every=1)
    builders["an ordinary step"] = partial(galore, "gram", refresh_every=10**9)
    optimizers = built(llama(layers=layers), builders)
    base = next(iter(optimizers))
    calls = {name: one.step for name, one in optimizers.items()}
    seconds = take_turns(calls, rounds, clock, warm_up=1)
    title = f"a step with a new basis for each of {7 * layers} weights, plain weights included"
    print_table(title, seconds, base, {"times faster": faster(seconds, base)})
    ordinary = statistics.median(seconds.pop("an ordinary step"))
    alone = {name: [time - ordinary for time in times] for name, times in seconds.items()}
    print_table("the same, less an ordinary step", alone, base, {"times faster": faster(alone, base)})
    print_bars(alone, STEP_BARS)


def measure_staggered(method: BasisMethod, every: int, clock: Clock) -> None:
    """Print what the dearest step of a staggered run costs."""
    optimizer = galore(method, llama().make(), refresh_every=every, stagger=True)
    optimizer.step()  # every weight's first basis
    least = [float("inf")] * every
    for _ in range(PERIODS):
        for place in range(every):
            start = clock()
            optimizer.step()
            least[place] = min(least[place], clock() - start)
    median, most = statistics.median(least), max(least)
    ratio = most / median
    verdict = "met" if ratio <= MOST_OVER_MEDIAN else "MISSED"
    print(
        f"  {method:6} median {1e3 * median:7.1f} ms, dearest {1e3 * most:7.1f} ms: {ratio:.2f} of the "
        f"median; at most {MOST_OVER_MEDIAN}: {verdict}"
    )


def main() -> None:
    """Measure for each number of threads."""
    parser = arguments_of(__doc__, rounds=5)
    parts = ("bases", "step", "staggered")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--layers", type=int, default=2, help="of the model whose weights refresh at once")
    parser.add_argument("--refresh-every", type=int, default=200, help="of the staggered run")
    parser.add_argument("--staggered", nargs="+", choices=METHODS, default=METHODS, help="methods")
    arguments = parser.parse_args()
    clock = clock_of(arguments.clock)
    print_machine(arguments.clock)
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        print(f"\n{threads} thread{'s' * (threads > 1)}, {arguments.rounds} rounds")
        if "bases" in arguments.only:
            measure_bases(arguments.rounds, clock)
        if "step" in arguments.only:
            measure_step(arguments.rounds, arguments.layers, clock)
        if "staggered" in arguments.only:
            print(f"\nstaggered run, {7 * LAYERS} weights, a new basis every {arguments.refresh_every} steps")
            for method in arguments.staggered:
                measure_staggered(method, arguments.refresh_every, clock)


if __name__ == "__main__":
    main()
