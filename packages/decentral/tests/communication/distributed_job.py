"""One process of the jobs of test_distributed.py.

Writes ``FOLDER/end-RANK.json``: what it computed or the error that it met.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from graftwork import GraftworkError
from graftwork_decentral import AgentBank, DecentralizedOptimizer, strategies, topology
from graftwork_decentral.communication import (
    DistributedCommunicator,
    StackedCommunicator,
    store_of_environment,
)
from graftwork_decentral.communication.communicator import Communicator
from graftwork_decentral.faults import Faults


def graphs_of(options: dict[str, Any], rank: int) -> Any:
    changed = rank in options.get("differs", [])
    return getattr(topology, options["topology"])(
        options["agents"], **{**options.get("graph", {}), **({"lazy": True} if changed else {})}
    )


def trained(communicator: Communicator, options: dict[str, Any]) -> torch.Tensor:
    """Some steps on quadratics of the agents' own, in float32."""
    generator = torch.Generator().manual_seed(2)
    agents, size = options["agents"], 7
    curvatures = 0.5 + torch.rand(agents, size, generator=generator)
    centres = torch.randn(agents, size, generator=generator)
    here = list(communicator.rows)
    point = torch.zeros(len(here), size)
    form = getattr(strategies, options["strategy"])().start(point)
    for step in range(options.get("steps", 200)):
        exchange = communicator.at(step)
        direction = form.prepare(0.2 * curvatures[here] * (point - centres[here]), exchange)
        point = form.combine(point, point - direction, exchange)
    return point


def join(communicator: Communicator, frozen: float, own: float) -> DecentralizedOptimizer:
    """Agents with a frozen bias, and a buffer of their own."""
    models = [nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1)) for _ in communicator.rows]
    for model in models:
        nn.init.constant_(model[0].bias.requires_grad_(False), frozen)
        nn.init.constant_(model[1].running_mean, own)
    return DecentralizedOptimizer(
        AgentBank(models),
        lambda model: torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1),
        strategies.diffusion(),
        communicator,
    )


def digests(point: torch.Tensor) -> list[str]:
    """Of every row, bit for bit."""
    return [hashlib.sha256(row.numpy().tobytes()).hexdigest() for row in point]


def main(options: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    found: dict[str, Any] = {}
    dist.init_process_group(
        "gloo",
        store=store_of_environment(20.0),
        rank=rank,
        world_size=world,
        timeout=datetime.timedelta(seconds=20),
    )
    try:
        for name, case in options["cases"].items():
            faults = Faults(**case.get("faults", {}))
            graphs = faults.graphs(graphs_of(case, rank))
            own = DistributedCommunicator(graphs, timeout_seconds=5.0)
            communicator = faults.communicator(own)
            if "frozen" in case:
                join(communicator, case["frozen"][rank], float(rank))
            if case.get("silent") == rank:
                time.sleep(case["seconds"])
                os._exit(0)
            if case.get("dies") == rank:
                os.kill(os.getpid(), 9)
            begun = time.monotonic()
            try:
                point = trained(communicator, case)
            finally:
                found["waited"] = time.monotonic() - begun
            found[name] = {
                "rows": digests(point),
                "agents": list(own.rows),
                "mean": communicator.mean(point).tolist(),
                "traffic": asdict(own.traffic),
            }
            if rank == 0:
                alone = trained(faults.communicator(StackedCommunicator(graphs, path="differences")), case)
                found[name].update(stacked=digests(alone), stacked_mean=alone.mean(dim=0).tolist())
    except GraftworkError as error:
        found["error"] = str(error)
        found["kind"] = type(error).__name__
    (Path(options["folder"]) / f"end-{rank}.json").write_text(json.dumps(found))
    if "error" in found:
        os._exit(1)
    dist.destroy_process_group()
