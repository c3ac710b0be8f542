"""What ``--dry-run`` tells, and that it refuses what the first step of the training would refuse.

Reached from here: ``rehearsal.py``, ``resumption.py``.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import torch

from graftwork.cli import main

RECIPE = """
[task]
name = "{task}"
[model]
name = "faulty"
[optimizer]
name = "adamw"
lr = 0.01
[trainer]
name = "standard"
steps = 12
log_every = 1
device = "cpu"
"""
# Settings of a training that cannot take its first step, or cannot be saved.
MISTAKES = {
    "optimizer option": ["optimizer.lr=-1.0"],
    "optimizer without lr": ["optimizer.name=rateless"],
    "optimizer that asks for a closure": ["optimizer.name=lbfgs"],
    "optimizer that cannot step in the backward pass": [
        "trainer.step_in_backward=true",
        "trainer.clip_norm=none",
    ],
    "clip_norm": ["trainer.step_in_backward=true"],
    "schedule": ["trainer.warmup_steps=13"],
    "seed": ["trainer.seed=-1"],
    "device": ["trainer.device=cuda"],
    "weights to start from": ["trainer.start_from=nowhere"],
    "tracker": ['trainer.trackers=["wandb"]'],
    "tracker that is none": ['trainer.trackers=["wandbb"]'],
    "callback": ['trainer.callbacks=["telling", "failling"]'],
    "metric": ["trainer.best_by=accuracy", "trainer.evaluate_every=1"],
    "file of the task": ["task.missing_file=/no/such/file"],
    "batches end": ["task.ends_after=1", "trainer.accumulate=2"],
    "loss that is not finite": ["task.infinite_from_batch=1"],
    "epochs of endless batches": ["trainer.epochs=1", "trainer.steps=none"],
    "directions": ["task.name=drawing", "task.directions=sideways"],
    "groups": ["task.name=drawing", "task.groups=parameters"],
    "settings of groups": ["task.name=drawing", "task.groups=settings"],
    "no samples": ["task.name=sampled", "task.samples=0"],
    "sample that cannot be made": ["task.name=sampled", "task.mishap=raises", "task.batch_size=37"],
    "samples that do not fit together": ["task.name=sampled", "task.mishap=longer", "task.batch_size=37"],
}
FAULTS = [
    ("task", "build_model"),
    ("task", "save_assets"),
    ("task", "facts"),
    ("task", "batches"),
    ("task", "loss"),
    ("model", "__init__"),
    ("model", "forward"),
    ("optimizer", "step"),
    ("tracker", "__init__"),
    ("callback", "__init__"),
]


@pytest.fixture
def graftwork(toy, tmp_path, monkeypatch, capsys):
    """Run a command in a folder with two recipes; return its exit code, output and error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRAFTWORK_DEBUG", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setitem(sys.modules, "wandb", None)
    recipe = RECIPE.format(task="regression").replace('[model]\nname = "faulty"\n', "")
    (tmp_path / "toy.toml").write_text(recipe)
    named = RECIPE.format(task="faulty").replace('"adamw"', '"faulty"')
    (tmp_path / "faulty.toml").write_text(f'{named}\ntrackers = ["faulty"]\ncallbacks = ["faulty"]\n')

    def run(*arguments):
        code = main(arguments)
        return code, *capsys.readouterr()

    return run


def refusal(told):
    """The sentence, without where the traceback is."""
    assert "Traceback" not in told
    return told[told.rindex("graftwork: error: ") :].partition("; the traceback")[0].partition("; GRAFT")[0]


def assert_refused_alike(graftwork, *arguments):
    code, _, of_training = graftwork("train", *arguments, "--out", "run", "--quiet", "--no-report")
    assert code == 2
    shutil.rmtree("run", ignore_errors=True)
    code, _, of_dry_run = graftwork("train", *arguments, "--out", "run", "--dry-run")
    assert code == 2
    assert refusal(of_dry_run).strip() == refusal(of_training).strip()
    assert not Path("run").exists()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_dry_run_refuses_what_the_first_step_refuses_in_the_same_words(graftwork, mistake):
    settings = [argument for setting in MISTAKES[mistake] for argument in ("--set", setting)]
    assert_refused_alike(graftwork, "toy.toml", *settings)


@pytest.mark.parametrize("spot", FAULTS, ids="-".join)
def test_a_dry_run_meets_the_faults_of_plugins_that_the_first_step_meets(graftwork, monkeypatch, spot):
    from graftwork_toy import faulty

    monkeypatch.setattr(faulty, "WHERE", spot)
    monkeypatch.setattr(faulty, "ERROR", KeyError("x"))
    assert_refused_alike(graftwork, "faulty.toml")


def test_a_directory_that_the_run_cannot_have_is_refused(graftwork, tmp_path):
    (tmp_path / "a-file").touch()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "recipe.toml").touch()
    for directory in ("a-file", "a-file/run", "taken"):
        code, _, of_training = graftwork("train", "toy.toml", "--out", directory, "--quiet", "--no-report")
        assert code == 2
        code, _, of_dry_run = graftwork("train", "toy.toml", "--out", directory, "--dry-run", "--quiet")
        assert (code, of_dry_run) == (2, of_training)


def test_a_disk_without_room_for_checkpoints_is_refused(graftwork, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(4000, 1000, 3000))
    code, _, told = graftwork("train", "toy.toml", "--out", "run", "--dry-run")
    assert code == 2
    # 131 parameters and two moments of each, in float32, and the step count of each of four tensors
    assert "run: 0 MiB are free, and 3 checkpoints (those that stay, and the one that is being" in told
    assert graftwork("train", "toy.toml", "--dry-run", "--set", "trainer.keep_checkpoints=1")[0] == 2
    monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(9000, 1000, 5000))
    assert graftwork("train", "toy.toml", "--dry-run")[0] == 0


def test_it_tells_of_the_data_and_the_length_and_leaves_nothing(graftwork, tmp_path, monkeypatch):
    telling = 'trainer.callbacks=[{name = "telling", path = "told.txt"}]'
    before = sorted(tmp_path.iterdir())
    sampled = ("--set", "task.name=sampled", "--set", "trainer.steps=none", "--set", "trainer.epochs=2.5")
    code, told, _ = graftwork("train", "toy.toml", "--dry-run", *sampled, "--set", telling)
    assert code == 0
    for line in (
        "rows             without end",
        "parameters       131",
        "steps            24",  # 2.5 times 37 samples in batches of 4
        "epochs           2.595, each of 9.25 steps",
        "first step       nothing is in its way",
    ):
        assert f"\n{line}\n" in f"{told}\n"
    assert sorted(tmp_path.iterdir()) == before


def test_a_large_model_is_not_trained_and_its_data_are_opened(graftwork, monkeypatch):
    monkeypatch.setattr("graftwork_trainer.dry_run._LARGE", 100)
    code, told, _ = graftwork("train", "toy.toml", "--dry-run", "--set", "task.infinite_from_batch=1")
    assert code == 0
    assert "first step       not tried, as the model is larger than 0 MiB" in told
    code, _, told = graftwork("train", "toy.toml", "--dry-run", "--set", "task.missing_file=/no/such/file")
    assert (code, "/no/such/file" in told) == (2, True)


def test_an_optimizer_that_looks_at_the_weights_is_tried_with_some(graftwork):
    code, told, _ = graftwork("train", "toy.toml", "--dry-run", "--set", "optimizer.name=looking")
    assert code == 0
    assert "optimizer state  not known: Tensor.item() cannot be called on meta tensors" in told
    assert "first step       nothing is in its way" in told


def test_a_trainer_with_a_loop_of_its_own_is_left_after_its_first_step(graftwork):
    settings = ("--set", "trainer.name=own-loop")
    assert graftwork("train", "toy.toml", *settings, "--quiet", "--no-report")[0] == 2
    assert graftwork("train", "toy.toml", *settings, "--dry-run")[0] == 0


def test_a_run_that_goes_on_is_described_and_not_begun_again(graftwork):
    assert graftwork("train", "toy.toml", "--out", "run", "--quiet", "--no-report")[0] == 0
    code, told, _ = graftwork("train", "--resume", "run", "--dry-run")
    assert code == 0
    assert "steps            12" in told
    assert "first step" not in told
    assert "goes on from     step 12" in told


@pytest.mark.parametrize(
    "settings",
    [
        ("--set", "trainer.steps=3"),
        ("--set", "trainer.seed=9", "--set", "optimizer.name=sgd"),
        ("--set", "task.batch_size=3", "--allow", "seed"),
    ],
    ids=" ".join,
)
def test_a_run_that_may_not_go_on_is_refused_in_the_same_words(graftwork, settings):
    assert graftwork("train", "toy.toml", "--out", "run", "--quiet", "--no-report")[0] == 0
    code, _, of_training = graftwork("train", "--resume", "run", *settings, "--quiet", "--no-report")
    assert code == 2
    assert graftwork("train", "--resume", "run", *settings, "--dry-run") == (2, "", of_training)


def test_what_is_allowed_to_be_another_is_told(graftwork):
    assert graftwork("train", "toy.toml", "--out", "run", "--quiet", "--no-report")[0] == 0
    settings = ("--set", "trainer.seed=9", "--set", "trainer.steps=20", "--allow", "seed")
    code, told, _ = graftwork("train", "--resume", "run", *settings, "--dry-run")
    assert code == 0
    assert "\nchanged          trainer.steps was 12 and is 20\n" in told
    assert "\nchanged          trainer.seed was 0 and is 9\n" in told
