"""Two trainings of one directory: one of them trains, and the other says so before it has imported torch."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from graftwork.testing import write_plugin
from graftwork_trainer.claim import claimed_anew
from graftwork_trainer.lock import RunLock

SLOW = ["--no-report", "--quiet", "--set", "task.pause_seconds=0.2"]
# What it names is imported by a training alone.
LIGHT = """
from graftwork import Component, Kind, hookimpl

@hookimpl
def graftwork_components():
    yield Component(Kind.TASK, "absent", "module_that_is_nowhere:Task", "for tests")
"""
RUN = """
import sys
from graftwork.cli import main
code = main(sys.argv[1:])
assert "torch" not in sys.modules
sys.exit(code)
"""


def test_of_two_starts_and_two_resumes_at_once_one_trains(launch, read_lines, tmp_path):
    for arguments in (
        ("toy.toml", "--out", "run", "--set", "trainer.steps=4"),
        ("--resume", "run", "--set", "trainer.steps=8"),
    ):
        processes = [launch("train", *arguments, *SLOW) for _ in range(2)]
        said = [process.communicate(timeout=120)[1] for process in processes]
        assert sorted(process.returncode for process in processes) == [0, 2], said
        refused = next(text for text, process in zip(said, processes, strict=True) if process.returncode)
        assert "trains in it; wait until it has ended" in refused or "holds a run already" in refused
    steps = [line["step"] for line in read_lines(tmp_path / "run") if "train/loss" in line]
    assert steps == sorted(set(steps))
    assert steps[-1] == 8
    assert not (tmp_path / "run" / "lock").exists()


def test_one_whose_run_was_removed_and_begun_anew_leaves_it_alone(launch, read_lines, tmp_path):
    run = tmp_path / "run"
    first = launch("train", "toy.toml", "--out", "run", *SLOW, "--set", "trainer.log_every=1")
    deadline = time.monotonic() + 60
    while not (run / "metrics.jsonl").exists() or not read_lines(run):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)  # it writes nothing while it is removed
    shutil.rmtree(run)
    with RunLock(run):
        (run / "recipe.toml").write_text("another's")
        first.send_signal(signal.SIGCONT)
        _, said = first.communicate(timeout=60)
        assert first.returncode == 2, said
        assert f"run run: process {os.getpid()} on " in said.strip().splitlines()[-1]
        assert sorted(path.name for path in run.iterdir()) == ["lock", "recipe.toml"]


@pytest.fixture
def refused(tmp_path):
    """Call ``train`` where it is refused; torch must not have been imported by then."""
    write_plugin(tmp_path / "plugins", "light", LIGHT)
    (tmp_path / "light.toml").write_text('[task]\nname = "absent"\n[trainer]\nname = "standard"\n')
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "recipe.toml").write_text((tmp_path / "light.toml").read_text())

    def call(*arguments):
        process = subprocess.run(
            [sys.executable, "-c", RUN, "train", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(tmp_path / "plugins"),
                "GRAFTWORK_PLUGINS": "light,trainer",
            },
            check=False,
        )
        assert process.returncode == 2, process.stderr
        (sentence,) = process.stderr.splitlines()
        return sentence.removeprefix("graftwork: error: ")

    return call


def test_what_is_no_place_for_a_run_is_refused_at_once(refused, tmp_path):
    assert refused("light.toml", "--out", "held").startswith(
        "run held: holds a run already; continue it with"
    )
    assert "--resume nowhere: is no run directory" in refused("--resume", "nowhere")
    assert "--out: must name a directory, got ''" in refused("light.toml", "--out", "")
    assert "--resume: must name a directory, got ''" in refused("--resume", "")
    assert not (tmp_path / "nowhere").exists()
    with RunLock(tmp_path / "held"):
        for arguments in (("light.toml", "--out", "held"), ("--resume", "held")):
            assert f"run held: process {os.getpid()} on " in refused(*arguments)


def test_runs_without_a_name_that_begin_in_one_second_get_one_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("graftwork_trainer.claim.new_directory", lambda name: tmp_path / "runs" / name)
    with claimed_anew("toy") as first, claimed_anew("toy") as second:
        (first / "recipe.toml").touch()
        assert (first.name, second.name) == ("toy", "toy-2")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["toy"]
