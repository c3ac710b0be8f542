"""Time of one step of a thousand tiny parameters, where calls cost more than arithmetic.

    python packages/optim-core/benchmarks/tiny_parameters.py [--threads 1 2] [--rounds 31] [--count 1000]

GWT at level 2, and Adam's step of plain groups, beside torch's AdamW, to whose foreach the ratios are taken.
Weights: matrices of 16 x 16; matrices and vectors in turn; matrices and vectors of eight widths. Nothing is
reported if an update is wrong.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from peers import (
    TORCH,
    Bar,
    Build,
    Clock,
    WeightMaker,
    Weights,
    arguments_of,
    built,
    clock_of,
    print_bars,
    print_machine,
    print_table,
    require,
    take_turns,
)
from torch.optim import Optimizer

from graftwork_optim_core import GWTAdamW
from graftwork_optim_core.subspace.fused import has_numba

STACKED, FUSED, ALONE = "stacked", "fused", "one by one"
OPTIONS: dict[str, dict[str, Any]] = {
    STACKED: {"fused": False},
    FUSED: {"fused": True},
    ALONE: {"fused": False, "foreach": False},
}
BASE = "AdamW foreach"
BARS = tuple(
    Bar(f"GWTAdamW {what}, {way}", BASE, 3.0, 1.5)
    for what in ("level 2", "plain")
    for way in (STACKED, FUSED)
)


def shapes_of(kind: str, count: int) -> list[tuple[int, ...]]:
    """Return the shapes of so many parameters."""
    pattern: dict[str, list[tuple[int, ...]]] = {
        "16 x 16": [(16, 16)],
        "16 x 16 and vectors of 64": [(16, 16), (64,)],
        "eight widths, vectors too": [
            *((16, width) for width in (8, 16, 24, 32)),
            *((width,) for width in (16, 48, 64, 96)),
        ],
    }
    return list(itertools.islice(itertools.cycle(pattern[kind]), count))


KINDS = ("16 x 16", "16 x 16 and vectors of 64", "eight widths, vectors too")


def gwt(way: str, *, plain: bool, eps: float = 1e-6) -> Build:
    """Return a builder: matrices are transformed and vectors plain, or all are plain."""

    def build(weights: Weights) -> Optimizer:
        matrices = [one for one in weights.all if one.ndim == 2]
        vectors = [one for one in weights.all if one.ndim < 2]
        groups = [{"params": matrices, "plain": plain}, {"params": vectors, "plain": True}]
        groups = [group for group in groups if group["params"]]
        return GWTAdamW(groups, lr=1e-4, eps=eps, level=2, **OPTIONS[way])

    return build


def ways() -> tuple[str, ...]:
    """Return in which ways weights can be taken here."""
    if has_numba():
        return (STACKED, FUSED, ALONE)
    print("the fused steps are left out: numba is not installed")
    return (STACKED, ALONE)


def check(chosen: tuple[str, ...]) -> None:
    """Stop the program if plain groups are not Adam, or ways of one update differ."""
    for kind in KINDS:
        maker = WeightMaker([], shapes_of(kind, 16))
        started = [one.detach().clone() for one in maker.make().all]

        def change(build: Build, maker: WeightMaker = maker) -> list[torch.Tensor]:
            weights = maker.make()
            optimizer = build(weights)
            for _ in range(3):
                optimizer.step()
            return [one.detach() - old for one, old in zip(weights.all, started, strict=True)]  # noqa: B023

        # torch adds eps to the corrected root; where there is next to none, both are Adam.
        adam = change(lambda weights: torch.optim.AdamW(weights.all, lr=1e-4, eps=1e-14, weight_decay=0.0))
        alone = change(gwt(ALONE, plain=False))
        for way in chosen:
            for found, expected in zip(change(gwt(way, plain=True, eps=1e-14)), adam, strict=True):
                require(found, expected, f"{kind}, plain, {way}")
            for found, expected in zip(change(gwt(way, plain=False)), alone, strict=True):
                require(found, expected, f"{kind}, level 2, {way}")


def measure(kind: str, arguments: Any, chosen: tuple[str, ...], clock: Clock) -> None:
    """Print the table of one kind of parameters."""
    maker = WeightMaker([], shapes_of(kind, arguments.count))
    builders: dict[str, Build] = {BASE: TORCH[BASE], **TORCH}
    for way in chosen:
        builders[f"GWTAdamW level 2, {way}"] = gwt(way, plain=False)
        builders[f"GWTAdamW plain, {way}"] = gwt(way, plain=True)
    optimizers = built(maker, builders)
    seconds = take_turns({name: one.step for name, one in optimizers.items()}, arguments.rounds, clock)
    print_table(f"{arguments.count} parameters: {kind}", seconds, BASE)
    print_bars(seconds, BARS)


def main() -> None:
    """Check, then measure for each number of threads."""
    parser = arguments_of(__doc__, rounds=31)
    parser.add_argument("--count", type=int, default=1000)
    arguments = parser.parse_args()
    chosen = ways()
    check(chosen)
    print_machine(arguments.clock)
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        print(f"\n{threads} thread{'s' * (threads > 1)}, {arguments.rounds} rounds")
        for kind in KINDS:
            measure(kind, arguments, chosen, clock_of(arguments.clock))


if __name__ == "__main__":
    main()
