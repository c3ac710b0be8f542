"""``RUN/model/``: which weights it has, that it is whole, and what its card says.

Reached from here: ``model_folder/card.py``, ``model_folder/keeping.py``, ``model_folder/layouts.py``,
``model_folder/manifest.py``, ``model_folder/tensors.py``.
"""

from __future__ import annotations

import errno
import json
import tomllib

import torch
from safetensors.torch import load_file
from torch import nn

from graftwork_trainer.checkpoint import open_checkpoint
from graftwork_trainer.checkpoint.shard_file import digest_of
from graftwork_trainer.model_folder import keeping
from graftwork_trainer.model_folder.layouts import write_layout
from graftwork_trainer.model_folder.manifest import Manifest, model_folder
from graftwork_trainer.model_folder.tensors import whole_tensors
from graftwork_trainer.weights.places import find_place


def result(run):
    return json.loads((run / "result.json").read_text())


def weights_in(folder, run):
    """The tensors of a model's folder, as those of the checkpoint that it names."""
    tensors = load_file(folder / "model.safetensors")
    there = open_checkpoint(run / "checkpoints" / Manifest.read(folder).weights).part("model")["model"]
    assert tensors.keys() == there.keys()
    assert all(torch.equal(tensors[name], there[name]) for name in there)
    return tensors


def test_a_finished_run_has_the_last_weights_and_what_they_are_used_with(train):
    run = train()
    folder, manifest = run / "model", Manifest.read(run / "model")
    weights_in(folder, run)
    assert (manifest.weights, manifest.format, manifest.step) == ("step-000004", "safetensors", 4)
    assert manifest.metrics == result(run)["metrics"]
    assert manifest.assets == ("words/first.txt",)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {*manifest.files, "graftwork.json"}
    assert all(digest_of(folder / name) == facts["sha256"] for name, facts in manifest.files.items())
    assert [path.name for path in run.glob("model*")] == ["model"]


def test_a_run_that_stopped_early_has_the_best_weights(train):
    run = train("task.validation_loss_rises=true", "trainer.patience=1", "trainer.steps=40")
    manifest = Manifest.read(run / "model")
    weights_in(run / "model", run)
    assert (manifest.weights, manifest.metrics) == ("best-000002", result(run)["metrics"])
    assert "best weights by validation loss, of step 2" in (run / "model" / "README.md").read_text()


def test_an_optimizer_that_evaluates_at_other_weights_leaves_those(train):
    run = train("optimizer.name=averaged", "task.validation_loss_rises=true")
    assert Manifest.read(run / "model").weights == "last-000004"
    evaluated = weights_in(run / "model", run)
    trained = open_checkpoint(run / "checkpoints" / "step-000004").part("model")["model"]
    assert all(torch.equal(2 * evaluated[name], trained[name]) for name in trained)


def test_its_card_says_what_it_is_and_holds_code_that_runs(train, monkeypatch):
    run = train()
    card = (run / "model" / "README.md").read_text()
    assert f"validation/loss | {result(run)['metrics']['validation/loss']:.6g}" in card
    assert "| rows | without end |" in card
    recipe = card.split("```toml\n")[1].split("```")[0]
    assert tomllib.loads(recipe) == tomllib.loads((run / "recipe.toml").read_text())
    monkeypatch.chdir(run / "model")
    names = {}
    exec(card.split("```python\n")[1].split("```")[0], names)
    assert names["tensors"].keys() == load_file("model.safetensors").keys()


def test_a_kill_between_its_renames_loses_nothing(train, graftwork):
    run = train("trainer.steps=2")
    (run / "model").rename(run / "model.replaced")
    assert model_folder(run) == run / "model.replaced"
    assert find_place(str(run)).assets == run / "model.replaced"
    assert graftwork("train", "--resume", "run", "--set", "trainer.steps=4", "--quiet", "--no-report") == 0
    assert Manifest.read(run / "model").assets == ("words/first.txt",)
    assert [path.name for path in run.glob("model*")] == ["model"]


def test_a_model_that_cannot_be_written_ends_no_training(train, monkeypatch, capfd):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(keeping, "write_layout", full)
    run = train()
    assert result(run)["status"] == "finished"
    told = [line for line in capfd.readouterr().err.splitlines() if "run/model" in line]
    assert told == ["graftwork: run/model cannot be written, which ends no training: the disk is full"]
    assert Manifest.read(run / "model").format is None


def test_tensors_that_are_one_are_written_once_and_found_by_the_library(tmp_path):
    from safetensors.torch import load_model

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(3, 3)
            self.second = nn.Linear(3, 3)
            self.second.weight = self.first.weight

    model, other = Tied(), Tied()
    assert write_layout(model, whole_tensors(model), tmp_path) == "safetensors"
    load_model(other, tmp_path / "model.safetensors")
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_view_is_written_as_what_it_shows(tmp_path):
    model = nn.Module()
    model.register_buffer("view", torch.arange(12.0)[:4])
    write_layout(model, whole_tensors(model), tmp_path)
    assert load_file(tmp_path / "model.safetensors")["view"].tolist() == [0, 1, 2, 3]
    assert (tmp_path / "model.safetensors").stat().st_size < 150
