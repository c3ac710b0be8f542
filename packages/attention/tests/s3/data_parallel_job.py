"""Two processes of gloo, forked from one that has imported torch, each with half a batch.

    python data_parallel_job.py FOLDER

Each prints a word where DDP, which raises for a parameter without a gradient, averaged to the gradients of
the whole batch; see test_attention.py.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

import torch

# Once, before the fork: DDP imports it.
import torch._dynamo
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from graftwork_attention import S3Attention

WORLD = 2


def check(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "store"), WORLD)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=WORLD)
    torch.manual_seed(0)
    alone = S3Attention(16, 2, 24, layer_index=1)
    x, mask = torch.randn(4, 24, 16), torch.rand(4, 24) < 0.7
    alone(x, mask).sum().div(WORLD).backward()
    wanted = [weight.grad for weight in alone.parameters()]
    alone.zero_grad()
    parallel = DistributedDataParallel(alone)
    own = slice(2 * rank, 2 * rank + 2)
    # A second step is refused where a parameter of the first had no gradient.
    for _ in range(2):
        parallel.zero_grad()
        parallel(x[own], mask[own]).sum().backward()
    for name, weight, gradient in zip(
        dict(alone.named_parameters()), alone.parameters(), wanted, strict=True
    ):
        torch.testing.assert_close(weight.grad, gradient, msg=lambda said, name=name: f"{name}: {said}")
    print("averaged", flush=True)
    # By a file: one that leaves a barrier first closes its connection to the one that is still in it.
    store.set(f"{rank} is done", "")
    store.wait([f"{other} is done" for other in range(WORLD)])


def main(folder: Path) -> int:
    children = []
    for rank in range(WORLD):
        child = os.fork()
        if child:
            children.append(child)
            continue
        try:
            check(rank, folder)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    return int(any(statuses))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
