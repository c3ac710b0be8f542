"""The checkpoints of agents, seen from one process: each takes up what is of its own agents.

Weights and optimizer state stand under the agents' numbers, whichever process had them. Processes that are to
go on without each other cannot write one checkpoint together: each keeps those of its own agents in a folder
``agents-0002``, named after the first of them, and a resumed run begins with the newest step that all have.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from graftwork import GraftworkError
from graftwork_decentral.communication.communicator import Communicator
from graftwork_decentral.communication.lost import MembershipChanged
from graftwork_decentral.trainers.making_agents import agent_name
from graftwork_trainer.checkpoint import Checkpoints, Opened, TrainingState, open_checkpoint


class AgentCheckpoints(Checkpoints):
    """Checkpoints that all processes write together.

    Args:
        directory: of the run's checkpoints.
        communicator: of this process.
    """

    def __init__(self, directory: Path, communicator: Communicator) -> None:
        super().__init__(directory)
        self._communicator = communicator

    def newest(self) -> Opened | None:
        """Open the newest checkpoint, as far as it is of this process's agents; None where there is none.

        Raises:
            DamagedCheckpointError: it is not what was written; the message says how to go back.
        """
        opened = super().newest()
        if opened is None:
            self._refuse_if_written_otherwise()
            return None
        here = self._communicator.rows
        elsewhere = {agent_name(one) for one in range(self._communicator.agents) if one not in here}
        return _without(opened, elsewhere)

    def _refuse_if_written_otherwise(self) -> None:
        if any(self.directory.glob("agents-*")):
            raise GraftworkError(
                f"{self.directory} holds checkpoints that each process wrote for itself (faults.on_failure = "
                "'continue'): resume it as it was started, under python -m graftwork_decentral.launch"
            )


class ApartCheckpoints(AgentCheckpoints):
    """Checkpoints that each process writes for itself, as it may be one of those that are left.

    Args:
        directory: of the run's checkpoints; this process's are in a folder within.
        communicator: of this process.
    """

    def __init__(self, directory: Path, communicator: Communicator) -> None:
        super().__init__(directory / f"agents-{communicator.rows.start:04d}", communicator)

    def save(self, step: int, training: TrainingState, values: Mapping[str, Any] | None = None) -> Path:
        # One may be killed before it writes what another has written: the one before is what both have.
        self.keep = max(self.keep, 2)
        return super().save(step, training, values)

    def newest(self) -> Opened | None:
        """Open the newest checkpoint that all processes have, and remove those after it.

        Returns:
            None where there is none, and for a process that came back: the others give it its state.

        Raises:
            GraftworkError: all that some have is older than all that others have.
            DamagedCheckpointError: it is not what was written; the message says how to go back.
        """
        if self._communicator.joins:
            return None
        try:
            common = self._common_step()
            newer = [step for step in self.steps() if step > common]
            if common and newer:
                open_checkpoint(self.path(common))
            # From here on it is certain that all go on from it: nobody has raised.
            self._of_all(common)
        except MembershipChanged as change:
            raise GraftworkError(
                f"while all look for the checkpoint to go on from, {change}; start again"
            ) from change
        if not common:
            self._refuse_if_written_otherwise()
            return None
        for step in newer:
            self._remove(step)
        return super().newest()

    def _common_step(self) -> int:
        """The newest step that all processes have; 0 for the start."""
        own = self.steps()
        # Whoever has fewer than are kept has removed none, and could go on from the start, too.
        steps = own if len(own) >= 2 else [0, *own]
        bound, newest = steps[-1], self._of_all(steps[-1])
        while max(newest) > min(newest) >= 0:
            bound = min(newest)
            newest = self._of_all(max((step for step in steps if step <= bound), default=-1))
        if min(newest) < 0:
            living = self._communicator.living
            ends, begins = (
                ", ".join(
                    str(agent) for agent, step in zip(living, newest, strict=True) if (step < 0) == later
                )
                for later in (False, True)
            )
            raise GraftworkError(
                f"{self.directory.parent}: no step is in the checkpoints of all processes: those of agents "
                f"{ends} end at step {bound}, those of agents {begins} begin later; whoever is lost comes "
                "back while the others train, by --restart of python -m graftwork_decentral.launch"
            )
        return newest[0]

    def _of_all(self, step: int) -> list[int]:
        """What the process of every living agent gives."""
        table = torch.zeros(self._communicator.agents, dtype=torch.float64)
        table[list(self._communicator.rows)] = float(step)
        return [int(one) for one in self._communicator.sum(table)[list(self._communicator.living)]]

    def _refuse_if_written_otherwise(self) -> None:
        if together := Checkpoints(self.directory.parent).steps():
            raise GraftworkError(
                f"{self.directory.parent} holds checkpoints that all processes wrote together, up to step "
                f"{together[-1]}: resume it as it was started, without faults.on_failure = 'continue'"
            )

    def _remove(self, step: int) -> None:
        # Renamed first, so that a kill half-way through the removal leaves no half checkpoint.
        path = self.path(step)
        doomed = path.with_name(f"{path.name}.partial")
        shutil.rmtree(doomed, ignore_errors=True)
        shutil.rmtree(path.rename(doomed), ignore_errors=True)


def _without(opened: Opened, agents: Collection[str]) -> Opened:
    """What a checkpoint holds besides what some agents have."""

    def left(by_name: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in by_name.items() if name.partition(".")[0] not in agents}

    values = dict(opened.index.values)
    optimizer = values["optimizer"]
    kept = {part: left(optimizer[part]) for part in ("state", "groups")}
    values |= {"model": left(values["model"]), "optimizer": {**optimizer, **kept}}
    return replace(opened, index=replace(opened.index, values=values))
