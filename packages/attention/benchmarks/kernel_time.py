"""What the references of the kernels take on a CPU, plain and through torch.compile.

    python packages/attention/benchmarks/kernel_time.py [ROUNDS]

Forward and backward of one sample of 4,096 tokens, 8 landmarks and 8 channels a head. One thread, CPU time
of the process, all kinds in turn, medians over rounds. Ratios are taken to forward and backward of one linear
map from token to token; in the last column, of the compiled function to the plain one. Nothing is reported if
these two differ.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from graftwork_attention.kernels.channel_gram import channel_gram
from graftwork_attention.kernels.skeleton import skeleton_attention
from graftwork_attention.kernels.stem_epilogue import stem_epilogue

TOKENS, LANDMARKS, CHANNELS = 4096, 8, 8


def chains(dim: int, heads: int) -> dict[str, tuple[Callable[..., Tensor], list[Tensor]]]:
    """Return every function with the tensors that it takes."""
    width = dim // heads

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, requires_grad=True)

    def skeleton(*tensors: Tensor) -> Tensor:
        return skeleton_attention(*tensors[:5], None, *tensors[5:], 1e-5, width**-0.5)

    queries, chosen = random(1, TOKENS, heads, width), random(1, TOKENS, heads, CHANNELS)
    landmarks = [random(1, heads, LANDMARKS, width) for _ in "kv"]
    weights = random(1, heads, width, CHANNELS)
    return {
        "skeleton_attention": (
            skeleton,
            [queries, *landmarks, chosen, weights, *(random(dim) for _ in "1234")],
        ),
        "channel_gram": (lambda q, k: channel_gram(q, k, None, TOKENS**-0.5), [queries, chosen]),
        "stem_epilogue": (
            lambda x, weight, bias: stem_epilogue(x, weight, bias, None),
            [random(1, TOKENS, dim), random(dim), random(dim)],
        ),
    }


def both_ways(function: Callable[..., Tensor], tensors: list[Tensor]) -> tuple[Tensor, ...]:
    y = function(*tensors)
    return y, *torch.autograd.grad(y, tensors, torch.ones_like(y))


def main(rounds: str = "15") -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("dim  function            plain / linear  compiled / linear  compiled / plain")
    for dim, heads in ((64, 2), (512, 8)):
        linear = nn.Linear(dim, dim)
        x = torch.randn(1, TOKENS, dim, requires_grad=True)
        for name, (function, tensors) in chains(dim, heads).items():
            compiled = torch.compile(function, fullgraph=True)
            for ours, theirs in zip(both_ways(compiled, tensors), both_ways(function, tensors), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
            kinds = ((linear, [x, *linear.parameters()]), (function, tensors), (compiled, tensors))
            times: list[list[float]] = [[], [], []]
            for _ in range(int(rounds)):
                for (kind, given), taken in zip(kinds, times, strict=True):
                    started = time.process_time()
                    if kind is linear:
                        torch.autograd.grad(linear(x), given, torch.ones_like(x))
                    else:
                        both_ways(kind, given)
                    taken.append(time.process_time() - started)
            base, plain, fused = (statistics.median(taken) for taken in times)
            print(
                f"{dim:3}  {name:18}  {plain / base:14.2f}  {fused / base:17.2f}  {fused / plain:16.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
