"""Time of a step of NSGDC beside torch's SGD with momentum and AdamW, on 20 million parameters.

    python benchmarks/normalized_step_time.py --threads 1 2

What is bare: NSGDC reads or writes 7 words an element (one of them to know whether the gradient is finite),
SGD with momentum 8 by foreach and 5 fused, AdamW fused 7. "fused" of ours is numba's kernel, "eager" are
torch's operations. Ratios are taken to SGD by foreach, round by round. Nothing is reported if a step is
wrong.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from peers import (
    BLOCK,
    Bar,
    Build,
    WeightMaker,
    Weights,
    arguments_of,
    built,
    clock_of,
    mebibytes,
    print_bars,
    print_machine,
    print_table,
    require,
    state_bytes,
    take_turns,
)
from torch import nn
from torch.optim import Optimizer

from graftwork_optim_core.normalized.accelerated import ANSGDC
from graftwork_optim_core.normalized.nsgdc import NSGDC
from graftwork_optim_core.reproductions.allocation import peak_allocation
from graftwork_optim_core.subspace.fused import has_numba

BASE = "SGD, momentum, foreach"
BARS = (
    Bar("NSGDC, fused", BASE, 1.0),
    Bar("NSGDC, eager", BASE, 1.0),
    Bar("NSGDC, fused", "AdamW foreach", 1.0),
)


def of_torch(make: type[Optimizer], **options: Any) -> Build:
    """Return a builder of one of torch's optimizers."""
    return lambda weights: make(weights.all, lr=1e-3, **options)  # type: ignore[call-arg]


def ours(weights: Weights, make: type[NSGDC] | type[ANSGDC] = NSGDC, **options: Any) -> Optimizer:
    """Return one of ours."""
    return make(weights.all, lr=1e-3, **options)


def builders() -> dict[str, Build]:
    """Return all contestants by name."""
    contestants: dict[str, Build] = {
        BASE: of_torch(torch.optim.SGD, momentum=0.9, foreach=True),
        "SGD, momentum, fused": of_torch(torch.optim.SGD, momentum=0.9, fused=True),
        "AdamW foreach": of_torch(torch.optim.AdamW, foreach=True),
        "AdamW fused": of_torch(torch.optim.AdamW, fused=True),
        "NSGDC, eager": partial(ours, fused=False),
        "NSGDC, foreach": partial(ours, foreach=True),
        "NSGDC, clip, eager": partial(ours, fused=False, clip=1.0),
        "A-NSGDC, eager": partial(ours, make=ANSGDC, fused=False),
    }
    if has_numba():
        contestants["NSGDC, fused"] = ours
        contestants["A-NSGDC, fused"] = partial(ours, make=ANSGDC)
    else:
        print("the fused steps are left out: numba is not installed")
    return contestants


def check() -> None:
    """Stop the program if two steps are not what the formula says."""
    for options in ({}, {"fused": False}, {"foreach": True}):
        torch.manual_seed(0)
        parameters = [nn.Parameter(torch.randn(shape)) for shape in ((300, 200), (70,))]
        expected = [parameter.detach().double() for parameter in parameters]
        means = [torch.zeros_like(one) for one in expected]
        optimizer = NSGDC(parameters, lr=0.1, momentum=0.9, **options)  # type: ignore[arg-type]
        for step in range(3):
            for parameter, mean in zip(parameters, means, strict=True):
                parameter.grad = torch.randn_like(parameter)
                mean.lerp_(parameter.grad.double(), 0.1 if step else 1.0)
            norm = torch.cat([mean.flatten() for mean in means]).norm()
            expected = [one - 0.1 * mean / norm for one, mean in zip(expected, means, strict=True)]
            optimizer.step()
        for parameter, one in zip(parameters, expected, strict=True):
            require(parameter.detach().double(), one, f"NSGDC {options}")


def main() -> None:
    """Check, then measure for each number of threads."""
    parser = arguments_of(__doc__, rounds=15)
    arguments = parser.parse_args()
    check()
    maker = WeightMaker(BLOCK * 6, [(1792, 512), (512,)])
    print_machine(arguments.clock)
    print(maker)
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        optimizers = built(maker, builders())
        seconds = take_turns(
            {name: one.step for name, one in optimizers.items()}, arguments.rounds, clock_of(arguments.clock)
        )
        columns = {
            "state, MiB": {name: mebibytes(state_bytes(one)) for name, one in optimizers.items()},
            "extra in a step, MiB": {
                name: mebibytes(peak_allocation(one.step)) for name, one in optimizers.items()
            },
        }
        title = f"{threads} thread{'s' * (threads > 1)}, {arguments.rounds} rounds"
        print_table(title, seconds, BASE, columns)
        print_bars(seconds, BARS)


if __name__ == "__main__":
    main()
