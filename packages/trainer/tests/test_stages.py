"""Stages of one run: each begins with what the one before ended with, and the run goes on wherever it was
killed.

Reached from here: ``stage_folders.py``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tomllib
from pathlib import Path

import pytest
import torch

from graftwork import GraftworkError, build_recipe, parse_set
from graftwork.cli import main
from graftwork_trainer.checkpoint import open_checkpoint
from graftwork_trainer.lock import RunLock
from graftwork_trainer.run_directory import RunDirectory
from graftwork_trainer.stages import StageDirectory
from graftwork_trainer.training import train_resolved

STAGED = """
[task]
name = "regression"
[optimizer]
name = "adamw"
lr = 0.3
[trainer]
steps = 40
log_every = 2
evaluate_every = 4
checkpoint_every = 3
patience = 2
device = "cpu"
[[stages]]
name = "general"
[[stages]]
name = "mine"
[stages.task]
batch_size = 4
[stages.optimizer]
name = "sgd"
lr = 0.1
momentum = 0.9
[stages.trainer]
steps = 8
seed = 7
patience = "none"
"""


@pytest.fixture
def graftwork(toy, tmp_path, monkeypatch):
    """The command line, in this process and in a folder with the recipe."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "staged.toml").write_text(STAGED)

    def run(*arguments):
        return main([*arguments, "--quiet", "--no-report"] if arguments[0] == "train" else list(arguments))

    return run


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return tmp_path_factory.mktemp("uninterrupted") / "whole"


@pytest.fixture
def whole(graftwork, uninterrupted):
    """A run that nothing happened to; trained once, and only read."""
    if not uninterrupted.exists():
        assert graftwork("train", "staged.toml", "--out", str(uninterrupted)) == 0
    return uninterrupted


@pytest.fixture
def killed(graftwork, monkeypatch):
    """Train in a process that ends by SIGKILL as soon as a stage's directory has done something for the n-th
    time."""

    def run(stage, method, call, *arguments):
        process = os.fork()
        if not process:
            original, calls = getattr(RunDirectory, method), []

            def dying(self, *given, **settings):
                outcome = original(self, *given, **settings)
                calls.extend([method] * (self.directory.name == stage))
                if len(calls) == call:
                    os.kill(os.getpid(), signal.SIGKILL)
                return outcome

            monkeypatch.setattr(RunDirectory, method, dying)
            graftwork(*arguments)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

    return run


def result(run):
    return json.loads((run / "result.json").read_text())


def newest(run):
    return open_checkpoint(max((run / "checkpoints").glob("step-*")))


def test_a_run_of_two_stages(whole):
    run = whole
    for folder in (run, run / "stages/1-general", run / "stages/2-mine"):
        for name in ("recipe.toml", "environment.json", "result.json"):
            assert (folder / name).is_file()
    of_all, general, mine = (result(run / name) for name in ("", "stages/1-general", "stages/2-mine"))
    assert (of_all["status"], general["status"]) == ("finished", "stopped-early")
    assert of_all["metrics"] == mine["metrics"]
    assert (
        of_all["steps"] == general["steps"] + mine["steps"] == sum(one["steps"] for one in of_all["stages"])
    )
    written = tomllib.loads((run / "recipe.toml").read_text())["stages"]
    assert [stage["name"] for stage in written] == ["general", "mine"]
    assert [stage["optimizer"]["name"] for stage in written] == ["adamw", "sgd"]


@pytest.mark.parametrize(("patience", "which"), [("2", "best"), ("none", "step")])
def test_a_stage_begins_with_what_the_one_before_ended_with(graftwork, tmp_path, patience, which):
    settings = [
        "--set",
        f"stages.general.trainer.patience={patience}",
        "--set",
        "stages.mine.optimizer.lr=0.0",
    ]
    assert graftwork("train", "staged.toml", "--out", "run", *settings) == 0
    general, mine = tmp_path / "run/stages/1-general", tmp_path / "run/stages/2-mine"
    ended_with = open_checkpoint(max((general / "checkpoints").glob(f"{which}-*"))).part("model")["model"]
    last = newest(general).part("model")["model"]
    begun_with = newest(mine).part("model")["model"]  # which a rate of 0 has left as it was
    assert all(torch.equal(begun_with[name], ended_with[name]) for name in ended_with)
    assert all(torch.equal(begun_with[name], last[name]) for name in last) == (which == "step")


@pytest.mark.parametrize(
    ("stage", "method", "call"),
    [
        ("1-general", "start", 1),
        ("1-general", "record", 2),
        ("1-general", "save", 2),
        ("1-general", "keep_best", 1),
        ("1-general", "finish", 1),
        ("2-mine", "start", 1),
        ("2-mine", "record", 1),
        ("2-mine", "save", 1),
        ("2-mine", "save", 3),
        ("2-mine", "finish", 1),
    ],
)
def test_killed_anywhere_a_run_goes_on_to_the_same_bits(
    graftwork, killed, whole, assert_same_end, tmp_path, stage, method, call
):
    assert killed(stage, method, call, "train", "staged.toml", "--out", "parts") == -signal.SIGKILL
    general = tmp_path / "parts/stages/1-general"
    metrics = general / "metrics.jsonl"
    ended = (general / "result.json").exists() and metrics.stat().st_mtime_ns
    assert graftwork("train", "--resume", "parts") == 0
    for folder in ("stages/1-general", "stages/2-mine"):
        assert_same_end(whole / folder, tmp_path / "parts" / folder)
    assert {**result(whole), "wall_seconds": 0} == {**result(tmp_path / "parts"), "wall_seconds": 0}
    assert not ended or metrics.stat().st_mtime_ns == ended  # it was not trained again


def test_a_process_of_its_own_is_killed_in_the_second_stage(command, assert_same_end, tmp_path):
    (tmp_path / "staged.toml").write_text(STAGED)
    train = ("train", "--no-report")
    at_batch = ["--set", "stages.mine.task.kill_at_batch"]
    assert command(*train, "staged.toml", "--out", "whole").returncode == 0
    died = command(*train, "staged.toml", "--out", "parts", at_batch[0], f"{at_batch[1]}=6")
    assert died.returncode == -signal.SIGKILL
    resumed = command(
        *train, "--resume", "parts", at_batch[0], f"{at_batch[1]}=0", "--allow", "kill_at_batch"
    )
    assert resumed.returncode == 0, resumed.stderr
    assert "1-general" not in resumed.stderr
    assert "2-mine" in resumed.stderr
    assert_same_end(tmp_path / "whole/stages/2-mine", tmp_path / "parts/stages/2-mine")


def test_ctrl_c_stops_the_whole_and_says_how_to_go_on(graftwork, monkeypatch, capsys, tmp_path):
    save = RunDirectory.save

    def asked_to_stop(self, training, progression, *, last):
        if self.directory.name == "2-mine" and progression["step"] == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return save(self, training, progression, last=last)

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "save", asked_to_stop)
        assert graftwork("train", "staged.toml", "--out", "run") == 130
    assert "stage 'mine': stopped at step" in (told := capsys.readouterr().err)
    assert "continue with `graftwork train --resume run`" in told
    assert result(tmp_path / "run")["status"] == "interrupted"
    assert graftwork("train", "--resume", "run") == 0
    assert result(tmp_path / "run")["status"] == "finished"


def test_a_signal_while_a_stage_ends_keeps_the_next_from_beginning(graftwork, monkeypatch, capsys, tmp_path):
    finish = RunDirectory.finish

    def asked_to_stop(self, *given):
        if self.directory.name == "1-general":
            os.kill(os.getpid(), signal.SIGTERM)
        finish(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "finish", asked_to_stop)
        assert graftwork("train", "staged.toml", "--out", "run") == 128 + signal.SIGTERM
    told = capsys.readouterr().err
    assert "stopped after stage 'general'; continue with `graftwork train --resume run`" in told
    assert not (tmp_path / "run/stages/2-mine").exists()
    assert result(tmp_path / "run")["status"] == "interrupted"
    assert graftwork("train", "--resume", "run") == 0


def test_a_run_that_was_removed_while_it_was_trained_can_be_gone_on_with(graftwork, monkeypatch, tmp_path):
    save = RunDirectory.save

    def removed(self, *given, **settings):
        if self.directory.name == "2-mine" and not (tmp_path / "gone").exists():
            (tmp_path / "run").rename(tmp_path / "gone")
        return save(self, *given, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "save", removed)
        assert graftwork("train", "staged.toml", "--out", "run") == 0
    assert (tmp_path / "run/recipe.toml").read_bytes() == (tmp_path / "gone/recipe.toml").read_bytes()
    assert graftwork("train", "--resume", "run") == 0


def test_a_stage_that_fails_is_named_and_can_be_mended(graftwork, capsys, tmp_path):
    settings = ["--set", "stages.mine.task.infinite_from_batch=2"]
    assert graftwork("train", "staged.toml", "--out", "run", *settings) == 2
    told = capsys.readouterr().err
    assert "error: stage 'mine': a loss, gradient or weight became" in told
    whole = result(tmp_path / "run")
    assert whole["status"] == "failed"
    assert whole["reason"].startswith("stage 'mine': a loss")
    assert [stage["status"] for stage in whole["stages"]] == ["stopped-early", "failed"]
    lost = ["--set", "stages.mine.task.missing_file=/nowhere", "--allow", "missing_file"]
    assert graftwork("train", "--resume", "run", "--set", "task.infinite_from_batch=0", *lost) == 2
    assert "error: stage 'mine': /nowhere: No such file" in capsys.readouterr().err
    mended = ["--set", "task.infinite_from_batch=0", "--set", "task.missing_file="]
    assert graftwork("train", "--resume", "run", *mended) == 0


def test_what_is_wrong_with_a_later_stage_is_found_before_the_first_is_trained(graftwork, capsys, tmp_path):
    settings = ["--set", "stages.mine.trainer.warmup_steps=-1"]
    assert graftwork("train", "staged.toml", "--out", "run", *settings) == 2
    assert "warmup_steps must be at least 0" in capsys.readouterr().err
    settings = ["--set", "stages.mine.trainer.start_from=nowhere"]
    assert graftwork("train", "staged.toml", "--out", "run", *settings) == 2
    assert "error: stage 'mine': start_from 'nowhere': there is no such run" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_stage_may_start_from_another_of_the_run(graftwork, capsys):
    settings = [
        "--set",
        "stages.mine.trainer.start_from=run/stages/1-general:9",
        "--set",
        "trainer.keep_checkpoints=9",
    ]
    assert graftwork("train", "staged.toml", "--out", "run", *settings) == 0
    assert "start_from run/stages/1-general, step 9: " in capsys.readouterr().err


def test_what_went_before_a_stage_that_has_begun_may_be_removed(
    graftwork, killed, capsys, assert_same_end, whole
):
    killed("2-mine", "save", 1, "train", "staged.toml", "--out", "run")
    shutil.rmtree("run/stages/1-general")
    assert graftwork("train", "--resume", "run") == 0
    assert "run/stages/1-general is gone, and not needed" in capsys.readouterr().err
    assert not Path("run/stages/1-general").exists()
    assert_same_end(Path("run/stages/2-mine"), whole / "stages/2-mine")
    assert graftwork("verify", "run") == 0


def test_a_value_goes_over_the_stages_that_are_yet_to_be_trained(graftwork, killed, capsys, tmp_path):
    killed("2-mine", "save", 1, "train", "staged.toml", "--out", "run")
    assert graftwork("train", "--resume", "run", "--set", "stages.1.trainer.steps=50") == 2
    assert "--set stages.1.trainer.steps=50: stage 'general' has ended" in capsys.readouterr().err
    assert graftwork("train", "--resume", "run", "--set", "trainer.steps=9") == 0
    general, mine = tomllib.loads((tmp_path / "run/recipe.toml").read_text())["stages"]
    assert (general["trainer"]["steps"], mine["trainer"]["steps"]) == (40, 9)
    assert result(tmp_path / "run/stages/2-mine")["steps"] == 9
    # The last stage may go on, as a plain run may.
    assert graftwork("train", "--resume", "run", "--set", "trainer.steps=11") == 0
    assert result(tmp_path / "run")["steps"] == result(tmp_path / "run/stages/1-general")["steps"] + 11


def test_a_resumption_that_is_refused_changes_nothing(graftwork, capsys, tmp_path):
    assert graftwork("train", "staged.toml", "--out", "run") == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").glob("**/*.*") if path.is_file()}
    assert graftwork("train", "--resume", "run", "--set", "task.batch_size=5") == 2
    assert "stage 'mine': --resume: task.batch_size was 4 and is 5" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before
    assert graftwork("train", "--resume", "run", "--set", "task.batch_size=5", "--allow", "batch_size") == 0


def test_another_recipe_for_a_stage_that_has_ended_is_refused(graftwork, tmp_path):
    def train(*settings, resume=False):
        overrides = [parse_set(text) for text in settings]
        recipe = build_recipe(tomllib.loads(STAGED), overrides=overrides).resolve()
        return train_resolved(recipe, tmp_path / "run", resume=resume, quiet=True)

    trained = train()
    assert trained.run == tmp_path / "run"
    assert trained.metrics == result(tmp_path / "run/stages/2-mine")["metrics"]
    assert trained.model is not None
    saved = newest(tmp_path / "run/stages/2-mine").part("model")["model"]
    assert all(torch.equal(value, saved[name]) for name, value in trained.model.state_dict().items())
    with pytest.raises(GraftworkError, match=r"stage 'general' of .* has ended, and optimizer\.lr was 0\.3"):
        train("stages.general.optimizer.lr=0.2", resume=True)
    again = train(resume=True)  # ended: its model is there all the same
    assert all(torch.equal(value, saved[name]) for name, value in again.model.state_dict().items())


def test_a_run_goes_on_with_the_stages_that_it_has_and_further_ones(toy, tmp_path):
    def train(count, resume=True):
        data = tomllib.loads(STAGED)
        more = {"name": "more", "trainer": {"steps": 3}}
        data["stages"] = [*data["stages"], more][:count]
        if not count:
            del data["stages"]
        train_resolved(build_recipe(data).resolve(), tmp_path / "run", resume=resume, quiet=True)

    train(2, resume=False)
    for count, told in {0: "no stages", 1: "the stages general"}.items():
        with pytest.raises(GraftworkError, match=f"has the stages general, mine, and the recipe {told};"):
            train(count)
    train(3)
    assert [one["name"] for one in result(tmp_path / "run")["stages"]] == ["general", "mine", "more"]


def test_one_writer_and_no_stage_by_itself(graftwork, capsys, tmp_path):
    assert graftwork("train", "staged.toml", "--out", "run") == 0
    assert graftwork("train", "staged.toml", "--out", "run") == 2
    assert "run run: holds a run already" in capsys.readouterr().err
    assert graftwork("train", "--resume", "run/stages/2-mine") == 2
    assert "is for a stage of run, which is trained as a whole; go on with" in capsys.readouterr().err
    process = os.fork()
    if not process:
        with RunLock(tmp_path / "run"):
            os._exit(graftwork("train", "--resume", "run"))
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 2


def test_the_lock_of_the_run_is_the_stages(graftwork, monkeypatch, capsys, tmp_path):
    start = StageDirectory.start

    def taken_away(self, training):
        state = start(self, training)
        (tmp_path / "run/lock").unlink()
        self.other = RunLock(tmp_path / "run")
        self.other.acquire()
        return state

    monkeypatch.setattr(StageDirectory, "start", taken_away)
    assert graftwork("train", "staged.toml", "--out", "run") == 2
    assert "trains in it" in capsys.readouterr().err


def test_verify_looks_at_every_stage(graftwork, killed, capsys, tmp_path):
    killed("2-mine", "save", 1, "train", "staged.toml", "--out", "run")
    assert graftwork("verify", "run") == 0
    told = capsys.readouterr().out
    assert "stages/1-general/result.json: stopped-early" in told
    assert "stages/1-general/checkpoints/best-" in told
    assert "stages/2-mine/resumes exactly here: yes, from step 3" in told
    assert told.count("resumes exactly") == 1
    (shard,) = max((tmp_path / "run/stages/1-general/checkpoints").glob("step-*")).glob("shard-*")
    shard.write_bytes(b"\0" * shard.stat().st_size)
    assert graftwork("verify", "run") == 1
    assert "DAMAGED stages/1-general/checkpoints/step-" in capsys.readouterr().out


def test_verify_says_what_has_not_begun(graftwork, killed, capsys):
    killed("1-general", "save", 1, "train", "staged.toml", "--out", "run")
    assert graftwork("verify", "run") == 0
    assert "stages/2-mine: not begun" in capsys.readouterr().out


def test_dry_run_describes_every_stage(graftwork, capsys, tmp_path):
    assert graftwork("train", "staged.toml", "--dry-run") == 0
    told = capsys.readouterr().out
    assert told.index("# stage 1 of 2: general") < told.index("# stage 2 of 2: mine")
    assert told.count("parameters       131") == 2
    assert not (tmp_path / "run").exists()


def test_a_run_directory_is_for_one_training(toy, tmp_path):
    recipe = build_recipe(tomllib.loads(STAGED)).resolve()
    with pytest.raises(GraftworkError, match="has stages"):
        RunDirectory(tmp_path / "run", recipe, {})
