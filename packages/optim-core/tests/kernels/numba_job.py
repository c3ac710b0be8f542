"""One process of test_numba_bits.py: steps of every optimizer that numba's kernels make.

    python numba_job.py

Prints by name of the optimizer the SHA-256 of the weights and of the optimizer's state after its steps.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from graftwork_optim_core import NSGDC, GWTAdamW

OPTIMIZERS: dict[str, Callable[..., Any]] = {
    **{f"gwt-adamw, level {level}": partial(GWTAdamW, level=level, fused=True) for level in (1, 2, 3, 5)},
    "gwt-adamw, no guard": partial(GWTAdamW, level=3, detail_guard="off", fused=True),
    "gwt-adamw, no limit": partial(GWTAdamW, level=2, norm_growth_limit=None, fused=True),
    "nsgdc, whole": NSGDC,
    "nsgdc, by tensor": partial(NSGDC, norm="per_tensor", momentum=0.1),
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


if __name__ == "__main__":
    torch.set_num_threads(2)
    print(json.dumps({name: digest_of_steps(make) for name, make in OPTIMIZERS.items()}))
