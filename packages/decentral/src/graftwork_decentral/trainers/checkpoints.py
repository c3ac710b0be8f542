"""What a checkpoint of agents holds besides the run's own: what the network remembers.

Compressed and delayed messages depend on what was sent before; a file a process beside the checkpoint keeps
that. Processes that are to go on without each other cannot write one checkpoint together: each keeps those of
its own agents, and a resumed run begins with the newest step that all of them have.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from graftwork import GraftworkError
from graftwork_decentral.communication.communicator import Communicator
from graftwork_trainer.checkpoint import Checkpoints


class AgentCheckpoints(Checkpoints):
    """The checkpoints of a run, seen from one process.

    Args:
        directory: of the run's checkpoints.
        communicator: of this process.
        apart: whether each process keeps checkpoints of its own.
    """

    def __init__(self, directory: Path, communicator: Communicator, *, apart: bool) -> None:
        first = communicator.rows.start
        super().__init__(directory / f"agents-{first:04d}" if apart else directory)
        self._communicator, self._apart = communicator, apart
        self._name = f"network-{first:04d}.pt"

    def save(
        self, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]
    ) -> Path:
        """Write a checkpoint; every process calls it."""
        path = super().save(step, model, optimizer, state)
        remembered = self._communicator.state_dict()
        if remembered:
            torch.save(remembered, path / self._name)
        return path

    def load(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
    ) -> dict[str, Any] | None:
        """Load the newest checkpoint that all processes have.

        Returns:
            None where there is none, and for a process that came back: the others give it its state.

        Raises:
            GraftworkError: it cannot be read, or does not hold what the network remembered.
        """
        if self._communicator.joins:
            return None
        if self._apart:
            self._forget_what_others_lack()
        state = super().load(model, optimizer, device)
        if state is not None and self._communicator.remembers:
            path = self.path(int(state["step"])) / self._name
            if not path.is_file():
                raise GraftworkError(
                    f"checkpoint {path.parent}: lacks {path.name}, what delayed or compressed messages "
                    "depend on; resume with as many processes and the [faults] that it was written with, or "
                    "remove that folder to go on from an earlier one"
                )
            self._communicator.load_state_dict(torch.load(path, weights_only=True, map_location=device))
        return state

    def _forget_what_others_lack(self) -> None:
        """One that was lost on the way wrote fewer; newer ones of the others fit no more."""
        own = self.steps()
        newest = torch.zeros(self._communicator.agents, dtype=torch.float64)
        newest[list(self._communicator.rows)] = float(own[-1]) if own else 0.0
        common = int(self._communicator.sum(newest)[list(self._communicator.living)].min())
        for step in own:
            if step > common:
                shutil.rmtree(self.path(step), ignore_errors=True)
