"""A process that is stopped, or never comes, ends the others in time, and they say which one it is.

Every job is of two processes, of which rank 1 stops itself where the job says; all wait at once.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from graftwork.testing import write_plugin

TIMEOUT_SECONDS = 5
# Two in the roll call, and what leaving takes on a busy machine.
MARGIN_SECONDS = 12
HALTING = """
import os, signal, time
import torch
from graftwork import Component, Kind, hookimpl

def halt(how):
    if os.environ["RANK"] == "1":
        open(os.environ["HALTED"], "w").close()
        if how == "slow":
            time.sleep(60)
        os.kill(os.getpid(), signal.SIGSTOP)

if os.environ.get("HALTS") == "start":
    halt("start")

class Halting(torch.optim.AdamW):
    def __init__(self, params, lr: float = 0.01, where: str = "") -> None:
        super().__init__(params, lr)
        self.where, self.steps = where, 0

    def _halt(self, *places):
        if self.where in places and self.steps == 6:
            halt(self.where)

    def step(self, closure=None):
        self.steps += 1
        self._halt("step", "slow")
        return super().step(closure)

    def state_dict(self):
        self._halt("checkpoint")
        return super().state_dict()

@hookimpl
def graftwork_components():
    yield Component(Kind.OPTIMIZER, "halting", "graftwork_halting:Halting", "stops")
"""
DDP, FSDP = "trainer.parallel=ddp", "trainer.parallel=fsdp"
JOBS = {
    "start": ("start", DDP),
    "step": ("step", FSDP),
    "checkpoint": ("checkpoint", DDP),
    "slow": ("slow", DDP),
}


@pytest.fixture(scope="module")
def ended(fork, toy_folder, tmp_path_factory):
    """Of every job: how rank 0 ended, what it said, and how long after rank 1 had stopped."""
    folder = tmp_path_factory.mktemp("jobs")
    write_plugin(toy_folder, "halting", HALTING)
    (folder / "toy.toml").write_text(RECIPE)
    beginning = threading.Lock()

    def outcome(name):
        # One after the other: those that wait cost nothing, those that begin all there is.
        with beginning:
            first, second = (start(fork, folder, toy_folder, name, rank) for rank in (0, 1))
            while not (folder / f"{name} halted").exists() and first.poll() is None:
                time.sleep(0.02)
        halted = time.monotonic()
        try:
            said = first.communicate(timeout=60)[1]
            return first.returncode, said, time.monotonic() - halted
        finally:
            for process in (first, second):
                process.kill()

    with ThreadPoolExecutor(len(JOBS)) as pool:
        return folder, dict(zip(JOBS, pool.map(outcome, JOBS), strict=True))


RECIPE = f"""
[task]
name = "rows"
[optimizer]
name = "halting"
[trainer]
name = "standard"
steps = 12
log_every = 1
evaluate_every = 3
checkpoint_every = 3
device = "cpu"
timeout_seconds = {TIMEOUT_SECONDS}
"""


def start(fork, folder, plugins, name, rank):
    where, parallel = JOBS[name]
    settings = [f"optimizer.where={where}", parallel]
    options = [part for setting in settings for part in ("--set", setting)]
    variables = {
        "PYTHONPATH": str(plugins),
        "GRAFTWORK_PLUGINS": "toy,halting,trainer",
        "OMP_NUM_THREADS": "1",
        "RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(PORTS[name]),
        "HALTS": where,
        "HALTED": str(folder / f"{name} halted"),
    }
    arguments = ["train", "toy.toml", "--no-report", "--quiet", "--out", name, *options]
    return fork(arguments, folder, {**os.environ, **variables})


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


PORTS = {name: free_port() for name in JOBS}


@pytest.mark.parametrize("name", [name for name in JOBS if name != "slow"])
def test_the_others_end_in_time_and_name_the_rank(ended, name):
    folder, outcomes = ended
    code, said, seconds = outcomes[name]
    assert code == 2, said
    assert seconds < TIMEOUT_SECONDS + MARGIN_SECONDS
    assert "Traceback" not in said
    sentence = said.strip().splitlines()[-1]
    assert sentence.startswith("graftwork: error: rank 1 of 2 (")
    assert "does not answer" in sentence
    if name != "start":
        assert f"go on with `graftwork train --resume {name}`" in sentence
        result = json.loads((folder / name / "result.json").read_text())
        assert (result["status"], result["reason"]) == ("failed", sentence.removeprefix("graftwork: error: "))


def test_one_that_is_only_slow_is_not_called_dead(ended):
    code, said, _ = ended[1]["slow"]
    assert code == 2, said
    assert "all 2 ranks answer, and one kept another waiting" in said
    assert f"trainer.timeout_seconds = {TIMEOUT_SECONDS}" in said
