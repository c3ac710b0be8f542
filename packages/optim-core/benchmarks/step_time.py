"""Time, memory and state of one optimizer step: GWT, GaLore and 8-bit Adam beside torch and other libraries.

    python packages/optim-core/benchmarks/step_time.py [--threads 1 2] [--rounds 15] [--dtype float32]
        [--only gwt galore eight-bit] [--no-peers]

Weights: a LLaMA-shaped model of 8 layers (hidden 512, intermediate 1376, vocabulary 4096): 25.3M parameters
in attention and MLP, which the optimizers transform, and 4.2M that stay plain. GaLore's steps are ordinary
ones, of rank 128, without a new basis; those are in ``refresh_time.py``. Extra memory is by how much torch's
allocator grows within a step. "eager" are torch's operations, "fused" is numba's kernel. Ratios are taken to
torch's fused AdamW, round by round; for the other libraries see ``peers.py``. There is no public code of GWT
beside which to time ours. Nothing is reported if an update is wrong.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from peers import (
    EIGHT_BIT,
    GALORE,
    NEVER,
    RANK,
    TORCH,
    Bar,
    Build,
    Clock,
    WeightMaker,
    Weights,
    arguments_of,
    built,
    clock_of,
    galore_torch,
    llama,
    mebibytes,
    print_bars,
    print_machine,
    print_table,
    require,
    state_bytes,
    take_turns,
)
from torch import Tensor
from torch.optim import Optimizer

from graftwork_optim_core import GaLoreAdamW, GaLoreAdamW8bit, GoLoreAdamW, GWTAdamW, SubspaceOptimizer
from graftwork_optim_core.reproductions.allocation import peak_allocation
from graftwork_optim_core.subspace.fused import has_numba

LEVELS = (1, 2, 3)
LOW_RANK: dict[str, Any] = {"lr": 1e-4, "scale": 0.25, "rank": RANK, "refresh_every": NEVER}
FUSED, EAGER = "fused", "eager"
BARS = (
    Bar("GWTAdamW level 2, eager", "AdamW fused", 4.5, 3.0),
    Bar("GWTAdamW level 2, fused", "AdamW fused", 1.25, 0.8),
    Bar("GaLoreAdamW", "galore-torch GaLoreAdamW", 1.0, 0.8),
)


def gwt(level: int, guard: str, way: str) -> Build:
    """Return a builder of GWT, all of its weights by the kernel or none."""

    def build(weights: Weights) -> Optimizer:
        options: dict[str, Any] = {"level": level, "detail_guard": guard, "fused": way == FUSED}
        return GWTAdamW(weights.groups({}, {"plain": True}), lr=1e-4, **options)

    return build


def plain(way: str) -> dict[str, Any]:
    """Return the options of plain weights."""
    return {"plain": True, "fused": way == FUSED}


def galore(weights: Weights, way: str = EAGER) -> Optimizer:
    """Return GaLore whose first basis is found quickly: an ordinary step does not know how."""
    return GaLoreAdamW(weights.groups({}, plain(way)), basis="gram", **LOW_RANK)


def golore(weights: Weights, way: str = EAGER) -> Optimizer:
    """Return GoLore in its last phase, whose bases are random."""
    return GoLoreAdamW(weights.groups({}, plain(way)), random_last=1.0, **LOW_RANK)


def galore_8bit(weights: Weights) -> Optimizer:
    """Return GaLore with 8-bit moments."""
    return GaLoreAdamW8bit(weights.groups({}, plain(EAGER)), basis="gram", **LOW_RANK)


def adam_8bit(weights: Weights) -> Optimizer:
    """Return Adam with 8-bit moments."""
    return SubspaceOptimizer(weights.all, lr=1e-4, host="adam8bit", transform="identity", fused=False)


def adam_in_kernel(weights: Weights) -> Optimizer:
    """Return Adam by the kernel of GWT."""
    return SubspaceOptimizer(weights.all, lr=1e-4, transform="identity", fused=True)


def gwt_builders() -> dict[str, Build]:
    """Return GWT by torch's operations and, where numba is installed, by the kernel."""
    builders = {
        f"GWTAdamW level {level}, {way}": gwt(level, "auto", way)
        for way in ((EAGER, FUSED) if has_numba() else (EAGER,))
        for level in LEVELS
    }
    builders["GWTAdamW level 2, guard off, eager"] = gwt(2, "off", EAGER)
    if has_numba():
        builders["SubspaceOptimizer, Adam, fused"] = adam_in_kernel
    else:
        print("the fused steps are left out: numba is not installed")
    return builders


def low_rank_builders() -> dict[str, Build]:
    """Return GaLore and GoLore; with numba also with its kernel for the plain weights."""
    builders: dict[str, Build] = {"GaLoreAdamW": galore, "GoLoreAdamW": golore}
    if has_numba():
        builders["GaLoreAdamW, plain weights fused"] = partial(galore, way=FUSED)
    return builders


OURS: dict[str, dict[str, Build]] = {
    "galore": low_rank_builders(),
    "eight-bit": {"GaLoreAdamW8bit": galore_8bit, "SubspaceOptimizer, adam8bit": adam_8bit},
}
PEERS = {"galore": GALORE, "eight-bit": EIGHT_BIT}
FAMILIES = ("gwt", "galore", "eight-bit")


def first_gwt_step(gradient: Tensor, level: int, guard: str) -> Tensor:
    """Return the first step of a weight by the formula, every block written out, in float64."""
    block = 2**level
    blocks = gradient.double().view(len(gradient), -1, block)
    coarse = blocks.sum(-1, keepdim=True) / block**0.5
    root = ((0.001 * coarse.square()).sqrt() + 1e-6) / 0.001**0.5
    details = blocks - blocks.mean(-1, keepdim=True)
    smooth = coarse / block**0.5 / root
    rough = details / 0.1 / root if guard == "off" else (details / root).clamp(-3, 3)
    change: Tensor = -0.25 * (rough + smooth).flatten(1)
    return change


def check_gwt() -> None:
    """Stop the program if a step of GWT is not what its formula says."""
    for level in LEVELS:
        for guard in ("auto", "off"):
            for way in (EAGER, FUSED) if has_numba() else (EAGER,):
                maker = WeightMaker([(64, 96), (96, 64)], [])
                weights = maker.make()
                before = [one.detach().clone() for one in weights.transformed]
                gwt(level, guard, way)(weights).step()
                for weight, old in zip(weights.transformed, before, strict=True):
                    change = (weight.detach().double() - old.double()) / 1e-4
                    assert weight.grad is not None
                    expected = first_gwt_step(weight.grad, level, guard)
                    require(change, expected, f"GWTAdamW level {level}, guard {guard}, {way}")


def moved(build: Build, weights: Weights, gradients: list[list[Tensor]]) -> tuple[Optimizer, list[Tensor]]:
    """Let an optimizer step on some gradients; return it and by how much its weights moved."""
    before = [weight.detach().double() for weight in weights.all]
    optimizer = build(weights)
    for step in gradients:
        for weight, gradient in zip(weights.all, step, strict=True):
            weight.grad = gradient.clone()
        optimizer.step()
    return optimizer, [
        weight.detach().double() - old for weight, old in zip(weights.all, before, strict=True)
    ]


def gradients_of_low_rank(shapes: list[tuple[int, int]], steps: int) -> list[list[Tensor]]:
    """Return gradients whose leading directions are well separated from the others."""
    torch.manual_seed(2)
    return [
        [
            torch.randn(rows, RANK) @ torch.randn(RANK, width) * 0.01 + torch.randn(rows, width) * 1e-3
            for rows, width in shapes
        ]
        for _ in range(steps)
    ]


def low_rank_steps(bases: dict[str, Tensor], gradients: list[Tensor]) -> Tensor:
    """Return what Adam's steps in given bases come to, in float64."""
    left, right = bases.get("basis_left"), bases.get("basis_right")
    mean = mean_square = total = torch.zeros((), dtype=torch.float64)
    for step, gradient in enumerate(gradients, 1):
        coarse = gradient.double()
        coarse = coarse @ right.double() if left is None and right is not None else coarse
        coarse = left.double().T @ coarse if left is not None else coarse
        mean = 0.9 * mean + 0.1 * coarse
        mean_square = 0.999 * mean_square + 0.001 * coarse.square()
        factor = (1 - 0.999**step) ** 0.5 / (1 - 0.9**step)
        update = factor * mean / (mean_square.sqrt() + 1e-6)
        if left is not None:
            update = left.double() @ update
        elif right is not None:
            update = update @ right.double().T
        total = total - 0.25 * 1e-4 * update
    return total


def check_low_rank(with_peers: bool) -> None:
    """Stop the program if a step of GaLore or GoLore is wrong, or GaLore's is not the other library's."""
    shapes = [(256, 160), (160, 256)]
    maker, gradients = WeightMaker(shapes, []), gradients_of_low_rank(shapes, 3)
    for name, build in OURS["galore"].items():
        weights = maker.make()
        optimizer, changes = moved(build, weights, gradients)
        for number, (weight, change) in enumerate(zip(weights.all, changes, strict=True)):
            bases = {key: one for key, one in optimizer.state[weight].items() if key.startswith("basis")}
            require(change, low_rank_steps(bases, [step[number] for step in gradients]), name)
    if with_peers:
        _, ours = moved(galore, maker.make(), gradients)
        try:
            _, others = moved(galore_torch, maker.make(), gradients)
        except ImportError:
            return
        for our, other in zip(ours, others, strict=True):
            require(our, other, "GaLoreAdamW, compared with galore-torch's", 0.02)


def check_eight_bit() -> None:
    """Stop the program if 8-bit Adam is not near Adam."""
    maker = WeightMaker([(64, 128), (128, 256)], [(64,)])
    shapes = [tuple(weight.shape) for weight in maker.make().all]
    torch.manual_seed(3)
    gradients = [[torch.randn(shape) * 0.01 for shape in shapes] for _ in range(5)]
    _, expected = moved(adam_in_32_bits, maker.make(), gradients)
    _, changes = moved(adam_8bit, maker.make(), gradients)
    for change, right in zip(changes, expected, strict=True):
        require(change, right, "adam8bit, compared with Adam's", 0.1)


def adam_in_32_bits(weights: Weights) -> Optimizer:
    """Return Adam as torch has it."""
    return torch.optim.Adam(weights.all, lr=1e-4)


def measure(threads: int, rounds: int, maker: WeightMaker, builders: dict[str, Build], clock: Clock) -> None:
    """Print the table for one number of threads."""
    torch.set_num_threads(threads)
    optimizers = built(maker, builders)
    seconds = take_turns({name: one.step for name, one in optimizers.items()}, rounds, clock)
    columns = {
        "state, MiB": {name: mebibytes(state_bytes(one)) for name, one in optimizers.items()},
        "extra in a step, MiB": {
            name: mebibytes(peak_allocation(one.step)) for name, one in optimizers.items()
        },
    }
    title = f"{threads} thread{'s' * (threads > 1)}, {rounds} rounds"
    print_table(title, seconds, "AdamW fused", columns)
    print_bars(seconds, BARS)


def main() -> None:
    """Check, then measure for each number of threads."""
    parser = arguments_of(__doc__, rounds=15)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--only", nargs="+", choices=FAMILIES, default=FAMILIES)
    parser.add_argument("--no-peers", action="store_true", help="torch's AdamW and ours alone")
    arguments = parser.parse_args()
    builders = dict(TORCH)
    for family in arguments.only:
        if not arguments.no_peers:
            builders |= PEERS.get(family, {})
        builders |= gwt_builders() if family == "gwt" else OURS[family]
    if "gwt" in arguments.only:
        check_gwt()
    if "galore" in arguments.only:
        check_low_rank(not arguments.no_peers)
    if "eight-bit" in arguments.only:
        check_eight_bit()
    maker = llama(getattr(torch, arguments.dtype))
    print_machine(arguments.clock)
    print(maker)
    for threads in arguments.threads:
        measure(threads, arguments.rounds, maker, builders, clock_of(arguments.clock))


if __name__ == "__main__":
    main()
