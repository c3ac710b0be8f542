"""Which step processes go on from that each keep checkpoints of their own; and who is sent back to whom."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from graftwork import GraftworkError
from graftwork_decentral import StackedCommunicator, full
from graftwork_decentral.trainers.checkpoints import AgentCheckpoints, ApartCheckpoints


class OneOfSeveral(StackedCommunicator):
    """A process with one agent, in a thread beside the others."""

    def __init__(self, agent: int, table: list[Any], all_here: threading.Barrier) -> None:
        super().__init__(full(len(table)))
        self.rows = range(agent, agent + 1)
        self._table, self._all_here = table, all_here

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        self._table[self.rows.start] = value
        self._all_here.wait()
        total = torch.stack(self._table).sum(0)
        self._all_here.wait()
        return total


@pytest.mark.parametrize(
    ("steps", "common"),
    [
        ([[], []], 0),
        ([[10], []], 0),
        ([[10, 20], [10, 20]], 20),
        ([[10, 20], [10]], 10),
        ([[10, 20, 30], [20], [10, 20, 30]], 20),
        ([[20, 30], [5, 10], [20, 30]], 30),
        ([[20, 30], [5, 10], [10, 20]], 20),
        ([[20, 30], [10, 30], [10, 20]], 20),
        ([[20, 30], []], 30),
    ],
    ids=str,
)
def test_all_who_were_left_have_the_step_and_the_newest_such(
    steps: list[list[int]], common: int, tmp_path: Path
) -> None:
    table, all_here = [None] * len(steps), threading.Barrier(len(steps))

    def found(agent: int) -> int:
        communicator = OneOfSeveral(agent, table, all_here)
        return ApartCheckpoints(tmp_path, communicator)._common_step(steps[agent])

    with ThreadPoolExecutor(len(steps)) as pool:
        assert list(pool.map(found, range(len(steps)))) == [common] * len(steps)


@pytest.mark.parametrize(
    ("written", "kind", "says"),
    [
        ("agents-0000/step-000004", AgentCheckpoints, r"each process wrote for itself .*resume it as it was"),
        ("step-000004", ApartCheckpoints, r"all processes wrote together, up to step 4: resume it as it was"),
    ],
    ids=["together", "apart"],
)
def test_checkpoints_of_the_other_kind_are_not_passed_over(
    written: str, kind: type[AgentCheckpoints], says: str, tmp_path: Path
) -> None:
    (tmp_path / written).mkdir(parents=True)
    with pytest.raises(GraftworkError, match=says):
        kind(tmp_path, StackedCommunicator(full(2))).newest()
