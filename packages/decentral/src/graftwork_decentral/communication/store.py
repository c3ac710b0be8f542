"""The key-value store through which processes agree: where it is, and calls to it that end."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TypeVar

import torch.distributed as dist
from torch._C._distributed_c10d import TCPStore

from graftwork import GraftworkError

T = TypeVar("T")
ENDED = "graftwork/ended/{process}"
"""Key under which a launcher counts how often it saw a process end."""


def store_of_environment(
    timeout_seconds: float = 60.0, environment: Mapping[str, str] | None = None
) -> TCPStore:
    """Connect to the store that the launcher's variables name; process 0 hosts it where no launcher does.

    Args:
        timeout_seconds: of the connection and of every wait for a key.
        environment: ``os.environ`` unless given.

    Raises:
        GraftworkError: a variable is missing, or nothing answers.
    """
    found = os.environ if environment is None else environment
    needed = ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE")
    missing = [name for name in needed if name not in found]
    if missing:
        raise GraftworkError(
            f"{', '.join(missing)} not set in the environment; start the processes with torchrun or "
            "python -m graftwork_decentral.launch"
        )
    hosted = found.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    address, port = found["MASTER_ADDR"], int(found["MASTER_PORT"])
    try:
        return TCPStore(
            address,
            port,
            is_master=not hosted and int(found["RANK"]) == 0,
            timeout=timedelta(seconds=timeout_seconds),
            wait_for_workers=False,
        )
    except (RuntimeError, dist.DistError) as error:
        raise GraftworkError(
            f"no store answers at {address}:{port} (MASTER_ADDR, MASTER_PORT): {error}"
        ) from error


def bounded(call: Callable[[], T], seconds: float) -> T:
    """Return what ``call`` does, waited for no longer than a time limit.

    A store whose host is cut off answers no more, and its client would wait for ever.

    Raises:
        TimeoutError: it takes longer.

    >>> bounded(lambda: 1 + 1, 5.0)
    2
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(call())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not done:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return done[0]
