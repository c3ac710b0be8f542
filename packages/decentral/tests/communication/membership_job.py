"""One process of the jobs of test_membership.py: agents with quadratics of their own, some of which die.

    python membership_job.py OPTIONS_JSON, started by graftwork_decentral.launch

Writes ``FOLDER/end-RANK.json``: the point of its agents, the step it began with, and what it was told.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from graftwork_decentral import strategies, topology
from graftwork_decentral.communication import (
    DistributedCommunicator,
    Membership,
    MembershipChanged,
    store_of_environment,
)
from graftwork_decentral.faults import Faults


def quadratics(agents: int, size: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(11)
    roots = torch.randn(agents, size, size, generator=generator, dtype=torch.float64) / size**0.5
    curvatures = torch.eye(size, dtype=torch.float64) + 0.3 * roots @ roots.mT
    return curvatures, 2 * torch.randn(agents, size, generator=generator, dtype=torch.float64)


def main(options: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    membership = Membership(
        store_of_environment(20.0),
        rank,
        world,
        timeout_seconds=options.get("timeout", 15.0),
        silence_seconds=3.0,
    )
    graphs = getattr(topology, options.get("topology", "ring"))(options["agents"], **options.get("graph", {}))
    faults = Faults(**options.get("faults", {}))
    communicator = faults.communicator(
        DistributedCommunicator(faults.graphs(graphs), membership=membership, admit_every=10)
    )
    curvatures, pulls = quadratics(options["agents"])
    curvatures, pulls = curvatures[list(communicator.rows)], pulls[list(communicator.rows)]
    point = torch.zeros_like(pulls)
    form = getattr(strategies, options["strategy"])().start(point)
    told = []

    def repair(change: MembershipChanged) -> None:
        told.append({"lost": change.lost, "joined": change.joined, "step": change.step})
        if options.get("repair", True):
            form.after_membership_change(communicator.mean)
        if change.joined:
            point.copy_(communicator.adopted(point, change.joined))

    communicator.on_membership_change.append(repair)
    step = begun = communicator.start(0)
    while step < options["steps"]:
        if rank in options["victims"] and step == options["dies_at"] and not membership.came_back:
            os.kill(os.getpid(), getattr(signal, options.get("signal", "SIGKILL")))
        time.sleep(options.get("pause", 0.0))
        try:
            exchange = communicator.at(step)
            gradient = (curvatures @ point[..., None])[..., 0] - pulls
            direction = form.prepare(options.get("step_size", 0.25) * gradient, exchange)
            point.copy_(form.combine(point, point - direction, exchange))
            step += 1
        except MembershipChanged as change:
            step = change.step
    found = {"point": point.tolist(), "rows": list(communicator.rows), "begun": begun, "told": told}
    (Path(options["folder"]) / f"end-{rank}.json").write_text(json.dumps(found))
    communicator.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
