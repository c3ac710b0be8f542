"""Signals save and end a training, on all ranks at one step; a second one ends it at once."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from graftwork import Interrupted
from graftwork_trainer.run_directory import RunDirectory

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
SLOW = ["--no-report", "--set", "task.pause_seconds=0.1", "--set", "trainer.log_every=1"]


@pytest.fixture
def signals(train, monkeypatch):
    """Train, and send this process signals when step 5 is recorded."""

    def run(*numbers, **options):
        record = RunDirectory.record

        def interrupted(opened, step, metrics):
            record(opened, step, metrics)
            if step == 5:
                for number in numbers:
                    os.kill(os.getpid(), number)

        monkeypatch.setattr(RunDirectory, "record", interrupted)
        try:
            return train("trainer.log_every=1", **options)
        finally:
            monkeypatch.undo()

    return run


def status(folder):
    return json.loads((folder / "result.json").read_text())["status"]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
def test_a_signal_saves_and_says_how_to_go_on(signals, train, assert_same_end, tmp_path, name):
    number = signal.Signals[name]
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match="stopped at step 6 and saved; continue with") as stopped:
        signals(number)
    assert stopped.value.number == number
    assert status(tmp_path / "run") == "interrupted"
    assert signal.getsignal(number) is before
    train("trainer.log_every=1", resume=True)
    train("trainer.log_every=1", directory="whole")
    assert_same_end(tmp_path / "run", tmp_path / "whole")


def test_a_signal_that_was_ignored_before_stays_so(signals):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert signals(signal.SIGHUP).result()["status"] == "finished"
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_signal_ends_at_once(signals):
    with pytest.raises(KeyboardInterrupt):
        signals(signal.SIGTERM, signal.SIGINT)


def test_one_signal_told_twice_in_two_ways_saves_all_the_same(signals):
    # As systemd does it.
    with pytest.raises(Interrupted):
        signals(signal.SIGTERM, signal.SIGHUP)


def wait_for_a_record(folder, *processes):
    deadline = time.monotonic() + 60
    while not (folder / "metrics.jsonl").exists() or not (folder / "metrics.jsonl").read_text():
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes)
        time.sleep(0.01)


def test_one_rank_that_is_told_stops_all_at_the_same_step(launch, toy_folder, tmp_path):
    launch("list")  # writes the recipe
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    world = {
        "PYTHONPATH": str(toy_folder),
        "GRAFTWORK_PLUGINS": "toy,trainer",
        "OMP_NUM_THREADS": "1",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "graftwork", "train", "toy.toml", "--out", "run", *SLOW],
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, **world, "RANK": rank},
        )
        for rank in ("0", "1")
    ]
    try:
        wait_for_a_record(tmp_path / "run", *ranks)
        ranks[1].send_signal(signal.SIGUSR1)
        said = [process.communicate(timeout=60)[1] for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    assert [process.returncode for process in ranks] == [128 + signal.SIGUSR1] * 2, said
    steps = [re.findall(r"^graftwork: stopped at step (\d+) and saved", text, re.M) for text in said]
    assert len(steps[0]) == 1
    assert steps[0] == steps[1]
    assert status(tmp_path / "run") == "interrupted"


def test_torchrun_that_is_told_to_end_has_all_ranks_save(launch, tmp_path):
    process = launch("train", "toy.toml", "--out", "run", *SLOW, launcher=TORCHRUN)
    wait_for_a_record(tmp_path / "run", process)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    steps = re.findall(r"^graftwork: stopped at step (\d+) and saved", said, re.M)
    assert len(steps) == 2, said
    assert steps[0] == steps[1]
    assert status(tmp_path / "run") == "interrupted"
