"""The checkpoints of agents, seen from one process: each takes up what is of its own agents.

Weights and optimizer state stand under the agents' numbers, whichever process had them. Processes that are to
go on without each other cannot write one checkpoint together: each keeps those of its own agents in a folder
``agents-0002``, named after the first of them, and a resumed run begins with the newest step that all have
who were left.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from graftwork import GraftworkError
from graftwork_decentral.communication.communicator import Communicator
from graftwork_decentral.communication.lost import MembershipChanged
from graftwork_decentral.trainers.making_agents import agent_name
from graftwork_trainer.checkpoint import (
    BestWeights,
    Checkpoints,
    DamagedCheckpointError,
    Opened,
    TrainingState,
    open_checkpoint,
)
from graftwork_trainer.progress import tell


class AgentBestWeights(BestWeights):
    """The weights of the best evaluation, written by all processes together.

    Args:
        directory: of the run's checkpoints.
        communicator: of this process.
    """

    def __init__(self, directory: Path, communicator: Communicator) -> None:
        super().__init__(directory)
        self._communicator = communicator

    def open(self, step: int) -> Opened | None:
        """Open those of a step, as far as they are of this process's agents; None where they are gone."""
        opened = super().open(step)
        return None if opened is None else _without(opened, _elsewhere(self._communicator))


class AgentCheckpoints(Checkpoints):
    """Checkpoints that all processes write together.

    Args:
        directory: of the run's checkpoints.
        communicator: of this process.
    """

    def __init__(self, directory: Path, communicator: Communicator) -> None:
        super().__init__(directory)
        self.best = AgentBestWeights(directory, communicator)
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
        return _without(opened, _elsewhere(self._communicator))

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
        self.best = None  # the mean over agents is of all, who may not be the same at its end

    def save(self, step: int, training: TrainingState, values: Mapping[str, Any] | None = None) -> Path:
        # One may be killed before it writes what another has written: the one before is what both have.
        self.keep = max(self.keep, 2)
        return super().save(step, training, values)

    def newest(self) -> Opened | None:
        """Open the newest checkpoint that all who were left have, and remove those after it.

        Returns:
            None where there is none, and for a process that has none of that step, as it was lost before: it
            comes in as one that came back, and the others give it its state.

        Raises:
            DamagedCheckpointError: it is not what was written; the message says how to go back.
            GraftworkError: it was written by another number of processes.
        """
        if self._communicator.joins:
            return None
        own = self.steps()
        try:
            step = self._common_step(own)
            # Before all answer, so that none goes on without one whose checkpoint is refused.
            opened = self._own(step) if step in own else None
            has = self._communicator.of_agents(int(step in own))
        except MembershipChanged as change:
            raise GraftworkError(
                f"while all look for the checkpoint to go on from, {change}; start again"
            ) from change
        if not step:
            self._refuse_if_written_otherwise()
            return None
        for one in own:
            if one > step:
                self._remove(one)
        if behind := [agent for agent, there in has.items() if not there]:
            if self._communicator.rows.start == 0:
                who = ", ".join(map(str, behind))
                tell(f"without a checkpoint of step {step}, these agents get the mean of the others: {who}")
            self._communicator.bring_in(behind, step)
        return opened

    def _own(self, step: int) -> Opened:
        """Open a checkpoint of this process's agents.

        Raises:
            DamagedCheckpointError: it is not what was written; the message says how to go back.
            GraftworkError: it is of other agents too, or not of all.
        """
        path = self.path(step)
        try:
            opened = open_checkpoint(path)
        except DamagedCheckpointError as error:
            raise DamagedCheckpointError(f"{error}; remove that folder to go on without it") from error
        written = {name.partition(".")[0] for name in opened.index.values["model"]}
        if written != set(map(agent_name, self._communicator.rows)):
            raise GraftworkError(
                f"{path} is of {len(written)} agents, and this process has {len(self._communicator.rows)}, "
                f"from {self._communicator.rows.start} on: start as many processes as wrote it"
            )
        return opened

    def _common_step(self, own: Sequence[int]) -> int:
        """The newest step that all have who were left; 0 for the start.

        All are at one step whenever one is saved: who was left has the newest, or the one before it.
        """
        one_before, last = [0, 0, *own][-2:]
        newest = self._communicator.of_agents(last).values()
        latest = max(newest)
        before = max(self._communicator.of_agents(one_before if last == latest else 0).values())
        return before if before in newest else latest

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


def _elsewhere(communicator: Communicator) -> set[str]:
    """What the agents of other processes are called."""
    return {agent_name(one) for one in range(communicator.agents) if one not in communicator.rows}


def _without(opened: Opened, agents: Collection[str]) -> Opened:
    """What a checkpoint holds besides what some agents have."""

    def left(by_name: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in by_name.items() if name.partition(".")[0] not in agents}

    values = {**opened.index.values, "model": left(opened.index.values["model"])}
    if (optimizer := values.get("optimizer")) is not None:
        values["optimizer"] = {**optimizer, **{part: left(optimizer[part]) for part in ("state", "groups")}}
    return replace(opened, index=replace(opened.index, values=values))
