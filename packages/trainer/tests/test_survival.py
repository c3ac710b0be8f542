"""What a training can do without may fail: it is told once, and the training reaches its end.

Reached from here: ``causes.py``, ``going_on.py``, ``recording.py``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from graftwork import GraftworkError
from graftwork_trainer.run_directory import RunDirectory


@pytest.fixture
def train_while(train, monkeypatch, capsys, tmp_path):
    """Train, and do something to the run before a step is recorded; return what was said."""

    def run(harms, *options):
        record = RunDirectory.record

        def harmed(opened, step, metrics):
            harms.pop(step, lambda folder: None)(opened.directory)
            record(opened, step, metrics)

        monkeypatch.setattr(RunDirectory, "record", harmed)
        try:
            train("trainer.log_every=1", *options)
        finally:
            monkeypatch.undo()
            said = capsys.readouterr().err
        assert not harms
        assert "Traceback" not in said
        return said

    return run


def finished(folder):
    result = json.loads((folder / "result.json").read_text())
    assert (result["status"], result["steps"]) == ("finished", 12)


def in_the_way(path):
    """Put a directory where a file is to be written, which stops root, too."""
    path.unlink(missing_ok=True)
    (path / "in the way").mkdir(parents=True)


def block_checkpoints(folder):
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    (folder / "checkpoints").touch()


def test_a_metrics_file_that_was_removed_is_made_again_with_all_that_was_in_it(
    train_while, read_lines, tmp_path
):
    train_while({5: lambda folder: (folder / "metrics.jsonl").unlink()})
    finished(tmp_path / "run")
    steps = [line["step"] for line in read_lines(tmp_path / "run") if "train/loss" in line]
    assert steps == list(range(1, 13))


@pytest.mark.parametrize("name", ["metrics.jsonl", "result.json"])
def test_a_file_that_cannot_be_written_is_told_once(train_while, tmp_path, name):
    said = train_while({5: lambda folder: in_the_way(folder / name)})
    assert said.count(f"run/{name} cannot be written, which ends no training") == 1
    assert (tmp_path / "run" / "checkpoints" / "step-000012").is_dir()


def test_metrics_that_could_not_be_written_for_a_time_are_written_later(train_while, read_lines, tmp_path):
    def away(folder):
        folder.rename(tmp_path / "elsewhere")
        folder.touch()

    def back(folder):
        folder.unlink()
        (tmp_path / "elsewhere").rename(folder)

    train_while({4: away, 6: back}, "trainer.checkpoint_every=0", "trainer.evaluate_every=0")
    finished(tmp_path / "run")
    assert [line["step"] for line in read_lines(tmp_path / "run")][:12] == list(range(1, 13))


def test_a_vanished_folder_of_tensorboard_is_told_once(train_while, tmp_path):
    def harm(folder):
        # What is under way arrives, or does not, in a thread of its own.
        shutil.rmtree(folder / "tensorboard")
        (folder / "tensorboard").touch()

    said = train_while({5: harm})
    finished(tmp_path / "run")
    assert said.count("tracker tensorboard failed, which ends no training") == 1


@pytest.mark.parametrize("name", ["metrics.jsonl", "environment.json", "tensorboard"])
def test_what_cannot_be_written_from_the_start_is_told_once(train_while, tmp_path, name):
    (tmp_path / "run").mkdir()
    if name == "tensorboard":
        (tmp_path / "run" / name).touch()
    else:
        in_the_way(tmp_path / "run" / name)
    said = train_while({})
    finished(tmp_path / "run")
    told = "tracker tensorboard failed" if name == "tensorboard" else f"run/{name} cannot be written"
    assert said.count(f"{told}, which ends no training") == 1


def test_a_run_that_was_removed_is_written_again_and_can_be_resumed(train_while, train, tmp_path):
    train_while({5: shutil.rmtree})
    finished(tmp_path / "run")
    assert train("trainer.steps=14", resume=True).result()["steps"] == 14


def test_a_checkpoint_that_cannot_be_written_is_tried_again_at_the_next(train_while, tmp_path):
    said = train_while({5: block_checkpoints, 7: lambda folder: (folder / "checkpoints").unlink()})
    finished(tmp_path / "run")
    assert said.count("checkpoints/step-000006: not written") == 1
    assert "tries again at the next checkpoint" in said
    names = [path.name for path in (tmp_path / "run" / "checkpoints").glob("step-*")]
    assert sorted(names) == ["step-000009", "step-000012"]


def test_a_last_checkpoint_that_cannot_be_written_fails_the_run(train_while, tmp_path):
    with pytest.raises(GraftworkError, match="checkpoints/step-000012: not written"):
        train_while({5: block_checkpoints})
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "failed"


@pytest.mark.parametrize("how", ["broken pipe", "closed"])
def test_dead_streams_end_nothing(toy_folder, launch, tmp_path, how):
    # The fixture writes the recipe; nobody reads what this process says, or its streams do not exist.
    launch("list").communicate()
    command = [sys.executable, "-m", "graftwork", "train", "toy.toml", "--out", "run"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(toy_folder),
        "GRAFTWORK_PLUGINS": "toy,trainer",
        "OMP_NUM_THREADS": "1",
    }
    if how == "closed":
        command = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command]
        process = subprocess.Popen(command, cwd=tmp_path, env=environment)
    else:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        process.stdout.close()
        process.stderr.close()
    assert process.wait(60) == 0
    finished(tmp_path / "run")
    assert (tmp_path / "run" / "report.html").is_file()
