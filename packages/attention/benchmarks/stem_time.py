"""The folded stem beside the plain one: CPU time of a whole S3Attention, as a ratio. Below 1, folding wins.

    python packages/attention/benchmarks/stem_time.py [DIM,DIM,... [BATCH,BATCH,... [TOKENS,TOKENS,...]]]

One thread, CPU time of the process, both kinds in turn, medians over rounds. ``evaluation`` keeps the folded
kernel between calls; ``training`` is forward and backward, and makes it each time. The rule of
``graftwork_attention.s3.stem.folds`` is read off this table.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch

from graftwork_attention import S3Attention

ROUNDS = 5


def evaluated(attention: S3Attention, x: torch.Tensor) -> None:
    with torch.no_grad():
        attention(x)


def trained(attention: S3Attention, x: torch.Tensor) -> None:
    attention.zero_grad()
    x = x.detach().requires_grad_()
    attention(x).sum().backward()


def ratio(run: Callable[[S3Attention, torch.Tensor], None], dim: int, batch: int, tokens: int) -> float:
    """Time with the folded stem over time with the plain one."""
    kinds = [S3Attention(dim, max(1, dim // 64), tokens, fold_stem=fold) for fold in ("always", "never")]
    x = torch.randn(batch, tokens, dim)
    times: list[list[float]] = [[], []]
    for number in range(ROUNDS + 1):
        for kind, taken in zip(kinds, times, strict=True):
            started = time.process_time()
            run(kind, x)
            if number:
                taken.append(time.process_time() - started)
    folded, plain = (statistics.median(taken) for taken in times)
    return folded / plain


def main(dims: str = "64,128,256,512", batches: str = "1,2,4,16", lengths: str = "512,2048") -> None:
    torch.set_num_threads(1)
    print("dim  tokens  batch  evaluation  training")
    for dim in map(int, dims.split(",")):
        for tokens in map(int, lengths.split(",")):
            for batch in map(int, batches.split(",")):
                measured = [ratio(run, dim, batch, tokens) for run in (evaluated, trained)]
                print(f"{dim:3}  {tokens:6}  {batch:5}  {measured[0]:10.2f}  {measured[1]:8.2f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
