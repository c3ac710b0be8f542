"""What all agents have sent so far."""

from __future__ import annotations

import torch

from graftwork_decentral.communication.communicator import Communicator


def traffic_of_all(communicator: Communicator) -> dict[str, float]:
    """Return rounds, and the bytes and messages of all agents together; every process must call it.

    Args:
        communicator: of this process.
    """
    traffic = communicator.traffic
    sent = torch.tensor([traffic.bytes, traffic.messages], dtype=torch.float64, device=communicator.device)
    total = communicator.sum(sent).tolist()
    return {"rounds": float(traffic.rounds), "bytes_sent": total[0], "messages_sent": total[1]}
