"""Run variants of SPARKLE on the agents of this process, and write where they end.

python processes_job.py FOLDER          with RANK and WORLD_SIZE in the environment
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from graftwork_decentral.bilevel.quadratic import Quadratic
from graftwork_decentral.bilevel.sparkle import Sparkle
from graftwork_decentral.communication import Communicator, DistributedCommunicator
from graftwork_decentral.strategies import exact_diffusion, extra, gt_atc, gt_semi_atc
from graftwork_decentral.topology import ring, star

GRAPH = ring(10)
VARIANTS: dict[str, dict[str, Any]] = {
    "one graph, made lazy": {"lower": exact_diffusion(), "upper": gt_semi_atc()},
    "two graphs": {"lower": extra(), "auxiliary": gt_atc(), "upper_graph": star(10, lazy=True)},
    "jacobi": {"lower": gt_atc(), "upper": exact_diffusion(), "order": "jacobi", "share_batch": True},
}


def ends(communicator: Communicator) -> dict[str, Tensor]:
    problem = Quadratic(dtype=torch.float32)
    points = {}
    for name, options in VARIANTS.items():
        method = Sparkle(problem, communicator, alpha=0.05, beta=0.1, gamma=0.1, theta=0.3, **options)
        for _ in range(40):
            method.step(problem.data(communicator.rows))
        points[name] = torch.cat([method.upper, method.lower, method.auxiliary], dim=1)
    return points


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    communicator = DistributedCommunicator(GRAPH)
    torch.save(ends(communicator), folder / f"{rank}.pt")
    communicator.close()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
