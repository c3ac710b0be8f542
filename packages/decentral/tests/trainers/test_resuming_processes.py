"""What several processes saved is gone on with by as many, by more and by fewer: the bits of one that was not
stopped, and one count of what was sent.

Reached from here: ``trainers/network_state.py``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from graftwork_trainer.checkpoint import open_checkpoint

STEPS, HALF = 6, 3
AGENTS: dict[str, Any] = {
    "task": {"name": "lines"},
    "optimizer": {"name": "plain-adamw", "lr": 0.1},
    "strategy": {"name": "gt-semi-atc"},
    "trainer": {"name": "decentralized", "agents": 3},
}
BILEVEL: dict[str, Any] = {
    "task": {"name": "policy-evaluation", "states": 20, "features": 3},
    "topology": {"name": "ring", "lazy": True},
    # One agent after the other: how many share a batched product changes its last bits.
    "trainer": {"name": "bilevel", "agents": 3, "vectorize": False},
}
FAULTY = {
    **AGENTS,
    "faults": {"name": "standard", "compressor": "8-bit", "delay": 1},
    "topology": {"name": "ring", "lazy": True},
}
APART = {**AGENTS, "faults": {"name": "standard", "on_failure": "continue"}}
FAULTY_APART = {**FAULTY, "faults": {**FAULTY["faults"], "on_failure": "continue"}}
# Processes of the first half and of the second.
RESUMED = {
    "decentralized": (AGENTS, [(2, 2), (2, 1), (1, 2)]),
    "bilevel": (BILEVEL, [(2, 1), (1, 2)]),
    "faulty": (FAULTY, [(2, 2)]),
}


@pytest.fixture(scope="module")
def runs(processes_in: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs in one piece, ``NAME-whole``, and in two halves, ``NAME-2-1`` for two processes and then one."""
    processes = processes_in(tmp_path_factory.mktemp("runs"))
    for name, (recipe, pairs) in RESUMED.items():
        processes.add(recipe, f"{name}-whole", 1, options={"trainer.steps": STEPS})
        for first, then in pairs:
            run = f"{name}-{first}-{then}"
            processes.add(recipe, run, first, options={"trainer.steps": HALF})
            processes.add(recipe, run, then, resume=True, options={"trainer.steps": STEPS})
    processes.add(FAULTY, "faulty-2-2", 1, resume=True, options={"trainer.steps": STEPS + 1})
    often = {"trainer.steps": STEPS, "trainer.checkpoint_every": 1, "trainer.keep_checkpoints": 1}
    killed = {"0": ["after", HALF], "1": ["before", HALF]}
    processes.add(FAULTY_APART, "apart", 2, options=often, kill=killed)
    processes.add(FAULTY_APART, "apart", 2, options=often, resume=True)
    processes.add(APART, "lost", 2, options=often, kill={"1": ["before", HALF]})
    still = {**often, "trainer.steps": STEPS + 1, "optimizer.lr": 0.0}
    processes.add(APART, "lost", 2, options=still, resume=True)
    processes.add(APART, "lost", 3, options=still, resume=True)
    codes, words = processes.run()
    *codes, refused, killed, resumed, lost, brought_in, shared_otherwise = codes
    assert all(code == [0] for one in [*codes, resumed, brought_in] for code in one.values()), words
    assert set().union(*shared_otherwise.values()) == {1}, words
    assert killed == {"0": [-9], "1": [-9]}
    assert lost == {"0": [0], "1": [-9]}
    assert refused == {"0": [1]}
    (processes.folder / "words").write_text(words)
    return processes.folder


def ended(run: Path) -> tuple[dict[str, Any], list[tuple[int, float, float]]]:
    """What the newest checkpoint holds, and what had been sent at each step."""
    found: dict[str, Any] = {}
    for folder in [run / "checkpoints", *(run / "checkpoints").glob("agents-*")]:
        for path in sorted(folder.glob("step-*"))[-1:]:
            opened = open_checkpoint(path)
            found |= {name: opened.tensor(name) for name in opened.index.tensors}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    sent = [
        (one["step"], one["train/rounds"], one["train/bytes_sent"]) for one in lines if "train/rounds" in one
    ]
    return {name: tensor for name, tensor in found.items() if not name.startswith("process-")}, sent


@pytest.mark.parametrize(
    ("name", "first", "then"),
    [(name, *pair) for name, (_, pairs) in RESUMED.items() for pair in pairs],
)
def test_others_go_on_to_the_same_bits(name: str, first: int, then: int, runs: Path) -> None:
    (wanted, sent), (found, sent_here) = ended(runs / f"{name}-whole"), ended(runs / f"{name}-{first}-{then}")
    assert [step for step, *_ in sent] == list(range(1, STEPS + 1))
    assert sent_here == sent
    assert found.keys() == wanted.keys()
    assert not [key for key in wanted if not torch.equal(found[key], wanted[key])]


def test_what_messages_depend_on_is_for_as_many_processes(runs: Path) -> None:
    words = (runs / "words").read_text("utf-8")
    assert "messages depend on what 2 processes had sent, each for its own agents: start as many" in words


def test_processes_that_go_on_without_each_other_begin_where_all_have_been(runs: Path) -> None:
    (wanted, sent), (found, sent_here) = ended(runs / "faulty-whole"), ended(runs / "apart")
    assert sent_here == sent
    assert found.keys() == wanted.keys()
    assert not [key for key in wanted if not torch.equal(found[key], wanted[key])]


def test_who_comes_in_without_a_checkpoint_is_told(runs: Path) -> None:
    told = f"graftwork: without a checkpoint of step {STEPS}, these agents get the mean of the others: 2\n"
    assert (runs / "words").read_text("utf-8").count(told) == 1


def test_agents_that_processes_share_otherwise_are_not_taken_for_lost_ones(runs: Path) -> None:
    words = (runs / "words").read_text("utf-8")
    assert "agents-0000/step-000007 is of 2 agents, and this process has 1, from 0 on: start as many" in words


def test_one_that_was_lost_before_comes_in_with_the_mean_of_the_others(runs: Path) -> None:
    found, sent = ended(runs / "lost")
    assert [step for step, *_ in sent] == list(range(1, STEPS + 2))
    # It had been at half as many steps, and none has moved since but to come together.
    others = open_checkpoint(runs / "lost" / "checkpoints" / "agents-0000" / f"step-{STEPS:06d}")
    before = [others.tensor(f"model/agent-000{agent}.norm.weight") for agent in (0, 1)]
    for agent in range(3):
        after = found[f"model/agent-000{agent}.norm.weight"]
        torch.testing.assert_close(after, torch.stack(before).mean(0), rtol=0, atol=1e-3)
