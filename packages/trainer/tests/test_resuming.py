"""What may change between a checkpoint and its resumption, where it is used from, and what is kept of it.

Reached from here: ``commands/resumed_recipe.py``, ``history.py``.
"""

from __future__ import annotations

import json
import math
import shutil

import pytest
import torch

from graftwork import GraftworkError
from graftwork_trainer.resuming import Identity

STOPPED = ("task.ends_after=7",)


@pytest.fixture
def stopped(train):
    """A run that ended at step 7, with a checkpoint of step 6."""

    def stop(*settings, directory="run"):
        with pytest.raises(GraftworkError, match="batches ended"):
            train(*STOPPED, *settings, directory=directory)

    return stop


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ("trainer.seed=5", "seed"),
        ("trainer.accumulate=2", "accumulate"),
        ("trainer.precision=bfloat16", "precision"),
        ("task.batch_size=4", "batch_size"),
        ("task.dropout=0.1", "dropout"),
        ("task.name=watching", "task"),
        ("optimizer.name=sgd", "optimizer"),
        ("optimizer.amsgrad=true", "optimizer"),
        ("task.rows=others", "rows"),
    ],
)
def test_what_makes_it_another_training_is_refused_with_both_values(train, stopped, setting, name, tmp_path):
    stopped()
    with pytest.raises(GraftworkError) as caught:
        train(setting, resume=True)
    option, _, value = setting.partition("=")
    message = str(caught.value)
    assert message.startswith("--resume: ")
    assert f"{option} was " in message
    assert f" and is {value}" in message.replace("'", "").replace("True", "true")
    assert f"--allow {name}" in message
    assert f" of {tmp_path / 'run'} " in message
    assert "remove" not in message


def test_a_refused_resumption_leaves_the_run_as_it_was(command, tmp_path):
    assert command("train", "--no-report", "toy.toml", "--out", "run").returncode == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    for more in (
        ("trainer.seed=5",),
        ("optimizer.name=sgd", "optimizer.lr=-1.0"),
        ("task.missing_file=/no/such/file",),
        ("trainer.device=cuda",),
    ):
        settings = [part for one in more for part in ("--set", one)]
        refused = command("train", "--no-report", "--resume", "run", *settings)
        assert refused.returncode == 2, refused.stderr
    after = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert after == before


def test_changed_data_are_refused_by_what_the_task_says_of_them(command, tmp_path, toy_folder):
    assert command("train", "--no-report", "toy.toml", "--out", "run").returncode == 0
    recipe = tmp_path / "run" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("without end", "changed"))
    more = ["train", "--no-report", "--resume", "run", "--set", "trainer.steps=14"]
    refused = command(*more, "--allow", "rows")
    assert refused.returncode == 2
    assert "rows of the data was 'without end' and is 'changed'" in refused.stderr
    assert "--allow data" in refused.stderr
    assert command(*more, "--allow", "rows", "--allow", "data").returncode == 0


CHANGES = {
    "optimizer.lr=0.05": ("lr", None),
    "optimizer.weight_decay=5.0": ("weight_decay", 5.0),
    "optimizer.weight_decay=0.0": ("weight_decay", 0.0),  # which groups parameters anew
    "optimizer.betas=[0.5, 0.6]": ("betas", (0.5, 0.6)),
    "optimizer.eps=1e-3": ("eps", 1e-3),
    "trainer.schedule=constant": (None, None),
    "trainer.warmup_steps=9": (None, None),
    "trainer.final_lr_fraction=0.9": (None, None),
    "trainer.clip_norm=0.01": (None, None),
    "trainer.steps=20": (None, None),
}


@pytest.mark.parametrize("setting", CHANGES)
def test_what_may_change_is_used_from_the_first_resumed_step_and_kept(train, stopped, tmp_path, setting):
    stopped(directory="as-before")
    stopped(directory="changed")
    ends = ("trainer.log_every=1", "trainer.checkpoint_every=1")
    for directory, settings in (("as-before", ()), ("changed", (setting,))):
        with pytest.raises(GraftworkError, match="batches ended"):
            train(*STOPPED, *ends, *settings, directory=directory, resume=True)
    option, value = CHANGES[setting]
    states = [
        json.loads((tmp_path / name / "checkpoints" / "step-000007" / "index.json").read_text())["content"]
        for name in ("as-before", "changed")
    ]
    digests = [state["files"]["shard-00000.safetensors"]["sha256"] for state in states]
    assert digests[0] != digests[1]  # step 7, the first that was taken since, is another
    if value is not None:
        found = states[1]["values"]["optimizer"]["groups"]["blocks.0.weight"]["options"][option]
        assert (tuple(found["$tuple"]) if isinstance(found, dict) else found) == value
    history = json.loads((tmp_path / "changed" / "history.json").read_text())
    (entry,) = [entry for entry in history if entry["what"] == setting.partition("=")[0]]
    assert entry["step"] == 6
    assert setting.partition("=")[2].lstrip("[").startswith(
        str(entry["after"]).lstrip("[")[:4]
    ) or math.isclose(float(entry["after"]), float(setting.partition("=")[2]))
    assert setting.partition("=")[0].rpartition(".")[2] in (tmp_path / "changed" / "recipe.toml").read_text()
    whole = train(directory="changed", resume=True)  # what was changed stays, and is no change any more
    assert whole.result()["status"] == "finished"
    assert json.loads((tmp_path / "changed" / "history.json").read_text())[: len(history)] == history


def test_a_part_of_the_trainer_is_allowed_by_its_own_name():
    def of(topology):
        return Identity({"trainer": {"name": "decentralized", "topology": topology}}, {}, 1)

    changes = of({"name": "ring", "lazy": True}).changes_to(of({"name": "torus"}))
    assert [(change.name, change.what) for change in changes] == [
        ("topology", "trainer.topology.name"),
        ("topology", "trainer.topology.lazy"),
    ]


def test_a_default_that_is_written_as_a_whole_number_is_no_change_and_may_change(train, stopped):
    settings = ("optimizer.name=sgd", "optimizer.lr=0.01")  # whose momentum is 0 in Python, 0.0 in a file
    stopped(*settings)
    rest = train(*settings, "optimizer.momentum=0.9", resume=True)
    assert {group["momentum"] for group in rest.optimizer.param_groups} == {0.9}


def test_an_end_before_the_checkpoint_is_refused(train, stopped, tmp_path):
    stopped()
    recipe = (tmp_path / "run" / "recipe.toml").read_text()
    with pytest.raises(GraftworkError, match=r"--resume: trainer\.steps is 5, and 6 are taken already"):
        train("trainer.steps=5", resume=True)
    assert (tmp_path / "run" / "recipe.toml").read_text() == recipe


def test_a_run_without_a_checkpoint_begins_anew_and_says_so(train, stopped, tmp_path, capsys):
    stopped()
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    assert train(resume=True).result()["status"] == "finished"
    assert "run has no checkpoint to go on from, and begins anew" in capsys.readouterr().err


def test_a_checkpoint_in_the_folder_of_another_step_is_refused(train, stopped, tmp_path):
    stopped()
    checkpoints = tmp_path / "run" / "checkpoints"
    (checkpoints / "step-000006").rename(checkpoints / "step-000009")
    with pytest.raises(GraftworkError, match="is that of step 6, and its folder was renamed; remove that"):
        train(resume=True)


def test_a_changed_rate_gives_the_step_that_it_would_have_given(train, stopped):
    stopped()
    rest = train("optimizer.lr=0.02", "trainer.schedule=constant", "trainer.log_every=1", resume=True)
    rates = {
        line["step"]: line["train/learning_rate"]
        for line in rest.lines()
        if line["step"] > 6 and "train/loss" in line
    }
    assert set(rates) == {7, 8, 9, 10, 11, 12}
    assert set(rates.values()) == {0.02}


def test_another_optimizer_begins_anew_at_the_weights_and_foreign_options_fall_away(command, tmp_path):
    whole = command("train", "--no-report", "toy.toml", "--out", "run")
    assert whole.returncode == 0
    more = ["train", "--no-report", "--resume", "run", "--set", "trainer.steps=14"]
    other = ["--set", "optimizer.name=sgd", "--set", "optimizer.momentum=0.5"]
    refused = command(*more, *other)
    assert refused.returncode == 2
    assert "optimizer.name was 'adamw' and is 'sgd'" in refused.stderr
    assert "--allow optimizer" in refused.stderr
    resumed = command(*more, *other, "--allow", "optimizer")
    assert resumed.returncode == 0, resumed.stderr
    recipe = (tmp_path / "run" / "recipe.toml").read_text()
    assert 'name = "sgd"' in recipe
    assert "betas" not in recipe
    index = json.loads((tmp_path / "run/checkpoints/step-000014/index.json").read_text())["content"]
    assert "exp_avg" not in json.dumps(index["values"]["optimizer"]["state"])
    mistaken = command(*more, "--set", "optimizer.momemtum=0.5")
    assert mistaken.returncode == 2
    assert "did you mean 'momentum'" in mistaken.stderr


def test_allowed_changes_are_used(train, stopped):
    stopped()
    rest = train("trainer.accumulate=2", "trainer.seed=3", resume=True, allow=("accumulate", "seed"))
    assert rest.result()["status"] == "finished"


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_model_with_a_layer_that_gets_no_gradient_trains_and_resumes_to_the_same_bits(
    train, stopped, assert_same_end, tmp_path, optimizer
):
    settings = ("task.unused_layer=true", f"optimizer.name={optimizer}")
    train(*settings, directory="whole")
    stopped(*settings, directory="parts")
    train(*settings, directory="parts", resume=True)
    assert_same_end(tmp_path / "whole", tmp_path / "parts")


def test_a_run_that_becomes_infinite_keeps_no_such_checkpoint_and_is_strict_json(train, tmp_path):
    settings = ("optimizer.lr=1e30", "trainer.checkpoint_every=1", "trainer.clip_norm=none")
    with pytest.raises(GraftworkError, match=r"became (nan|inf) by step \d+ \(") as caught:
        train(*settings)
    run = tmp_path / "run"
    for checkpoint in (run / "checkpoints").iterdir():
        from graftwork_trainer.checkpoint import open_checkpoint

        weights = open_checkpoint(checkpoint).part("model")["model"]
        assert all(bool(torch.isfinite(weight).all()) for weight in weights.values())
        assert f"the checkpoint of step {int(checkpoint.name[5:])} is whole" in str(caught.value)

    def strict(text):
        return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))

    assert strict((run / "result.json").read_text())["status"] == "failed"
    for line in (run / "metrics.jsonl").read_text().splitlines():
        strict(line)


def test_what_an_older_version_did_not_tell_of_the_data_has_not_changed():
    now = Identity({}, {"rows": 3, "empty_rows": 1}, 1)
    assert Identity({}, {"rows": 3}, 1).changes_to(now) == []
    (change,) = now.changes_to(Identity({}, {"rows": 3}, 1))
    assert str(change) == "empty_rows of the data was 1 and is not there"
