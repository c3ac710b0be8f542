"""From a recipe's choices to a communicator: in one process or in several, with the faults asked for."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist

from graftwork import Choice
from graftwork_decentral.communication import (
    Communicator,
    DistributedCommunicator,
    Membership,
    StackedCommunicator,
    store_of_environment,
)
from graftwork_decentral.faults.plan import Faults
from graftwork_decentral.strategies.strategy import Strategy
from graftwork_decentral.topology.topology import GraphSequence


def outlives_processes(faults: Faults | None) -> bool:
    """Whether this process is one of several that are to go on when some are lost.

    These connect among themselves, without torch's default process group, which does not outlive a member.

    Args:
        faults: of the run.
    """
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return several and faults is not None and faults.on_failure == "continue"


def connect(
    graphs: GraphSequence,
    chosen: Choice | None,
    faults: Faults | None,
    device: torch.device,
    strategy: Strategy | None = None,
) -> Communicator:
    """Return the communicator of this process.

    Args:
        graphs: who exchanges with whom.
        chosen: a registered communicator; none for stacked in one process, distributed in several, both with
            the arithmetic that is bitwise the same.
        faults: what the network does wrong; none for nothing.
        device: of the tensors.
        strategy: of the run, where there is one; faults with which it diverges are refused.

    Raises:
        GraftworkError: the strategy diverges with these faults, or the processes cannot connect.
    """
    if faults is not None:
        if strategy is not None:
            faults.validate(strategy, graphs)
        graphs = faults.graphs(graphs)
    communicator: Communicator
    if outlives_processes(faults):
        assert faults is not None
        membership = Membership(
            store_of_environment(faults.timeout_seconds),
            int(os.environ["RANK"]),
            int(os.environ["WORLD_SIZE"]),
            timeout_seconds=faults.timeout_seconds,
        )
        communicator = DistributedCommunicator(graphs, device=device, membership=membership)
    elif chosen is not None:
        communicator = chosen(graphs, device=device)
    elif dist.is_initialized():
        limit = 300.0 if faults is None else faults.timeout_seconds
        communicator = DistributedCommunicator(graphs, device=device, timeout_seconds=limit)
    else:
        communicator = StackedCommunicator(graphs, path="differences", device=device)
    return communicator if faults is None else faults.communicator(communicator, strategy)
