"""From a recipe's choices to a communicator: in one process or in several, with the faults asked for."""

from __future__ import annotations

import torch
import torch.distributed as dist

from graftwork import Choice
from graftwork_decentral.communication.communicator import Communicator
from graftwork_decentral.communication.distributed import DistributedCommunicator
from graftwork_decentral.communication.stacked import StackedCommunicator
from graftwork_decentral.topology.topology import GraphSequence


def connect(
    graphs: GraphSequence, chosen: Choice | None, faults: Choice | None, device: torch.device
) -> Communicator:
    """Return the communicator of this process.

    Args:
        graphs: who exchanges with whom.
        chosen: a registered communicator; none for stacked in one process, distributed in several, both with
            the arithmetic that is bitwise the same.
        faults: what the network does wrong; none for nothing.
        device: of the tensors.
    """
    if chosen is not None:
        communicator: Communicator = chosen(graphs, device=device)
    elif dist.is_initialized():
        communicator = DistributedCommunicator(graphs, device=device)
    else:
        communicator = StackedCommunicator(graphs, path="differences", device=device)
    return communicator
