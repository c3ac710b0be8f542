"""Time of one optimizer step: GWTAdamW beside torch's AdamW, in one run, as ratios.

``python benchmarks/step_time.py [--threads 1 2] [--rounds 15] [--dtype float32]``

Weights: a LLaMA-shaped model of 8 layers (hidden 512, intermediate 1376, vocabulary 4096): 25.3M parameters
that GWT transforms and 4.2M that stay plain. Every round steps every optimizer once, in turn, so that a
disturbance falls on all of them alike; a ratio is taken within a round. Nothing is reported if an update is
wrong.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from graftwork_optim_core import GWTAdamW

HIDDEN, INTERMEDIATE, LAYERS, VOCABULARY = 512, 1376, 8, 4096
BLOCK = [(HIDDEN, HIDDEN)] * 4 + [(INTERMEDIATE, HIDDEN)] * 2 + [(HIDDEN, INTERMEDIATE)]
PLAIN: dict[str, Any] = {"plain": True}
LEVELS = (1, 2, 3)


def make_weights(dtype: torch.dtype) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the transformed weights and the plain ones, with gradients."""
    torch.manual_seed(0)
    norms = [(HIDDEN,)] * (2 * LAYERS + 1)
    shapes = ([*BLOCK * LAYERS], [(VOCABULARY, HIDDEN), (VOCABULARY, HIDDEN), *norms])
    groups = tuple(
        [nn.Parameter((torch.randn(shape) * 0.02).to(dtype)) for shape in group] for group in shapes
    )
    for group in groups:
        for parameter in group:
            parameter.grad = torch.randn_like(parameter) * 0.01
    return groups[0], groups[1]


def contestants(dtype: torch.dtype) -> dict[str, torch.optim.Optimizer]:
    """Return every optimizer to time, each with weights of its own; the first is what ratios are taken to."""
    built: dict[str, torch.optim.Optimizer] = {}
    for name, options in {
        "AdamW fused": {"fused": True},
        "AdamW foreach": {"foreach": True},
        "AdamW for-loop": {"foreach": False},
    }.items():
        transformed, plain = make_weights(dtype)
        built[name] = torch.optim.AdamW(transformed + plain, lr=1e-4, **options)
    for guard in ("auto", "off"):
        for level in LEVELS:
            transformed, plain = make_weights(dtype)
            groups = [{"params": transformed}, {"params": plain, **PLAIN}]
            name = f"GWTAdamW level {level}, guard {guard}"
            built[name] = GWTAdamW(groups, lr=1e-4, level=level, detail_guard=guard)  # type: ignore[arg-type]
    return built


def first_step(weight: Tensor, gradient: Tensor, level: int, guard: str) -> Tensor:
    """Return the weight after one step, by the formula with every block written out, in float64."""
    block = 2**level
    weight, gradient = weight.double(), gradient.double()
    blocks = gradient.view(len(gradient), -1, block)
    coarse = blocks.sum(-1, keepdim=True) / block**0.5
    root = (0.001 * coarse.square()).sqrt() + 1e-6
    details = blocks - blocks.mean(-1, keepdim=True)
    corrected = root / 0.001**0.5
    if guard == "off":
        update = (details / 0.1 + coarse / block**0.5) / corrected
    else:
        update = (details / corrected).clamp(-3, 3) + coarse / block**0.5 / corrected
    return weight - 1e-4 * 0.25 * update.flatten(1)


def check_updates() -> None:
    """Stop the program if a step is not what the formula says."""
    for level in LEVELS:
        for guard in ("auto", "off"):
            torch.manual_seed(level)
            weight = nn.Parameter(torch.randn(64, 96) * 0.02)
            weight.grad = torch.randn(64, 96) * 0.01
            expected = first_step(weight.detach(), weight.grad, level, guard)
            GWTAdamW([weight], lr=1e-4, level=level, detail_guard=guard).step()  # type: ignore[arg-type]
            error = ((weight.detach() - expected).abs() / (1e-6 + expected.abs())).max().item()
            if error > 1e-3:
                raise SystemExit(
                    f"level {level}, guard {guard}: the update is off by {error:.1e}; nothing is timed"
                )


def measure(threads: int, rounds: int, dtype: torch.dtype, clock: Callable[[], float]) -> None:
    """Print the table for one number of threads."""
    torch.set_num_threads(threads)
    built = contestants(dtype)
    seconds: dict[str, list[float]] = {name: [] for name in built}
    for round_number in range(rounds + 2):
        for name, optimizer in built.items():
            start = clock()
            optimizer.step()
            if round_number >= 2:
                seconds[name].append(clock() - start)
    base = seconds["AdamW fused"]
    print(f"\n{threads} thread{'s' * (threads > 1)}, {rounds} rounds")
    print(f"{'optimizer':32} {'ms, median':>10}   ratio to AdamW fused: median (min to max)")
    for name, times in seconds.items():
        ratios = [one / other for one, other in zip(times, base, strict=True)]
        print(
            f"{name:32} {1e3 * statistics.median(times):10.1f}   {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )


def main() -> None:
    """Check, then measure for each number of threads."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu: of all threads, on a machine that others use",
    )
    arguments = parser.parse_args()
    check_updates()
    clock = time.perf_counter if arguments.clock == "wall" else time.process_time
    print(f"torch {torch.__version__}, {platform.processor() or platform.machine()}, {arguments.clock} time")
    print("29.5M parameters, 25.3M of them transformed,", arguments.dtype)
    for threads in arguments.threads:
        measure(threads, arguments.rounds, getattr(torch, arguments.dtype), clock)


if __name__ == "__main__":
    main()
