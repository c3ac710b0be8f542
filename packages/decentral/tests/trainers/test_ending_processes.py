"""What ends one process ends all of them, in time, with a sentence that says what it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

AGENTS: dict[str, Any] = {
    "task": {"name": "lines"},
    "optimizer": {"name": "plain-adamw", "lr": 0.1},
    "faults": {"name": "standard", "timeout_seconds": 2.0},
    "trainer": {"name": "decentralized", "agents": 3},
}
BILEVEL: dict[str, Any] = {
    "task": {"name": "policy-evaluation", "states": 20, "features": 3},
    "topology": {"name": "ring", "lazy": True},
    "faults": {"name": "standard", "timeout_seconds": 2.0},
    "trainer": {"name": "bilevel", "agents": 3},
}
OPTIONS = {"trainer.steps": 5, "trainer.checkpoint_every": 1, "trainer.timeout_seconds": 2.0}
STOPPED = [{"1": [when, step, "SIGSTOP"]} for when, step in (("before", 3), ("after", 3), ("evaluating", 5))]


@pytest.fixture(scope="module")
def told(processes_in: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    """What trainings said: one in which an agent spoils its weights, and some with a process that stops."""
    processes = processes_in(tmp_path_factory.mktemp("ended"))
    processes.add(AGENTS, "spoilt", 2, options={**OPTIONS, "task.spoilt": 2})
    for number, kill in enumerate(STOPPED):
        processes.add(AGENTS, f"agents-{number}", 2, options=OPTIONS, kill=kill)
    processes.add(BILEVEL, "bilevel", 2, options=OPTIONS, kill=STOPPED[0])
    (spoilt, *stopped), words = processes.run()
    assert spoilt == {"0": [1], "1": [1]}, words
    assert stopped == [{"0": [1], "1": [-99]}] * 4, words
    written = [path.name for path in (processes.folder / "spoilt" / "checkpoints").iterdir()]
    assert sorted(written) == ["step-000001", "step-000002"]
    return words


def test_weights_that_are_not_finite_end_all_processes(told: str) -> None:
    says = "a loss, gradient or weight became nan by step 3 (the checkpoint of step 2 is whole)"
    assert told.count(says) == 2


def test_a_peer_that_is_stopped_is_named(told: str) -> None:
    assert told.count("rank 1 of 2 (process ") == 3, "within a checkpoint and an evaluation"
    assert told.count("agents 2 (process 1) do not answer at step 3") == 1, "within a step"
