"""Processes of test_numba_bits.py: steps of every optimizer that numba's kernels make, with one cache.

    NUMBA_CACHE_DIR=FOLDER python numba_job.py FAMILY LOST

One process that finds the cache as it is, one that finds what the first has left, and one that misses the
entry LOST. They are forks of one process that has imported everything and compiled nothing. Prints for each
the SHA-256 of weights and state by name of the optimizer, and whether the last one wrote again what was lost.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

# What the first optimizer and the first step of a process import.
import torch._dynamo

from graftwork_optim_core import NSGDC, GWTAdamW

FAMILIES: dict[str, dict[str, Callable[..., Any]]] = {
    "gwt-adamw": {
        **{f"level {level}": partial(GWTAdamW, level=level, fused=True) for level in (1, 2, 3, 5)},
        "no guard": partial(GWTAdamW, level=3, detail_guard="off", fused=True),
        "no limit": partial(GWTAdamW, level=2, norm_growth_limit=None, fused=True),
    },
    "nsgdc": {"whole": NSGDC, "by tensor": partial(NSGDC, norm="per_tensor", momentum=0.1)},
}
# Short and odd rows, and one weight that all threads share.
SHAPES = [(3, 5), (64, 64), (40, 1003), (300, 512)]


def digest_of_steps(make: Callable[..., Any]) -> str:
    """Train weights on drawn gradients, in two threads."""
    generator = torch.Generator().manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    optimizer = make(weights, lr=1e-2)
    for _ in range(4):
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=generator)
        optimizer.step()
    digest = hashlib.sha256()
    for tensor in [*weights, *(value for state in optimizer.state.values() for value in state.values())]:
        digest.update(torch.as_tensor(tensor).detach().numpy().tobytes())
    return digest.hexdigest()


def in_a_fork(optimizers: dict[str, Callable[..., Any]]) -> dict[str, str]:
    """Return the digests that a new process finds."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            torch.set_num_threads(2)
            found = {name: digest_of_steps(make) for name, make in optimizers.items()}
            with os.fdopen(writing, "w") as file:
                json.dump(found, file)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as file:
        text = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise RuntimeError(f"a process ended with {status}")
    found: dict[str, str] = json.loads(text)
    return found


def entries(cache: Path, name: str) -> set[str]:
    return {str(path) for path in cache.rglob(f"*.{name}*.nbi")}


def main(family: str, lost: str) -> None:
    cache = Path(os.environ["NUMBA_CACHE_DIR"])
    optimizers = FAMILIES[family]
    processes = [in_a_fork(optimizers)]
    whole = entries(cache, "_")
    processes.append(in_a_fork(optimizers))
    (path,) = entries(cache, lost)
    Path(path).unlink()
    processes.append(in_a_fork(optimizers))
    print(json.dumps({"processes": processes, "before": sorted(whole), "after": sorted(entries(cache, "_"))}))


if __name__ == "__main__":
    main(*sys.argv[1:])
