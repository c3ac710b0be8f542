"""What a process's part in the network adds to a checkpoint: traffic so far, and what messages depend on.

Compressed and delayed messages depend on what was sent before. That is of the agents of one process and of
their neighbours, so that it is of use only to a process with the same agents on the same links.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from graftwork import GraftworkError
from graftwork_decentral.communication.communicator import Communicator
from graftwork_decentral.communication.traffic import Traffic


def network_state(communicator: Communicator) -> dict[str, Any]:
    """Return it as tensors and plain data.

    Args:
        communicator: of this process.
    """
    return {
        "agents": list(communicator.rows),
        "traffic": asdict(communicator.traffic),
        "memory": communicator.state_dict(),
    }


def restore_network(communicator: Communicator, states: Sequence[Mapping[str, Any]]) -> None:
    """Go on from there, on as many processes or on others.

    Args:
        communicator: of this process.
        states: what :func:`network_state` returned in every process that saved.

    Raises:
        GraftworkError: messages depend on earlier ones, and those are not of the same agents, or were sent
            with other faults or over other links.
    """
    # What a process had sent is gone on with where the first of its agents is now: once, wherever that is.
    taken = [state["traffic"] for state in states if state["agents"][0] in communicator.rows]
    communicator.traffic.go_on_from([Traffic(**one) for one in taken], states[0]["traffic"]["rounds"])
    if not communicator.remembers:
        return
    own = [state["memory"] for state in states if state["agents"] == list(communicator.rows)]
    if not own:
        raise GraftworkError(
            f"compressed and delayed messages depend on what {len(states)} processes had sent, each for its "
            "own agents: start as many"
        )
    communicator.load_state_dict(own[0])
