"""Trainings that start from other weights: of runs, of safetensors files, of folders of a model.

Reached from here: ``weights/files.py``, ``weights/places.py``, ``weights/runs.py``, ``weights/taking.py``.
"""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from graftwork import GraftworkError
from graftwork_trainer.checkpoint import open_checkpoint
from graftwork_trainer.weights.matching import match
from graftwork_trainer.weights.source import Found

STILL = ("optimizer.lr=0.0", "trainer.steps=3")


def weights_in(run, name):
    return open_checkpoint(run.checkpoints.directory / name).part("model")["model"]


def has(model, weights):
    return all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def start_of(trained):
    return json.loads((trained.run.directory / "environment.json").read_text())["start"]


@pytest.fixture
def source(train):
    """A run whose best weights are those of step 4, and the newest of step 12."""
    return train("task.validation_loss_rises=true", directory="source").run


@pytest.mark.parametrize(
    ("which", "checkpoint", "told"),
    [
        ("", "step-000012", "source, step 12: 4 of 4 tensors taken\n"),
        (":newest", "step-000012", "source, step 12: 4 of 4 tensors taken\n"),
        (":9", "step-000009", "source, step 9: 4 of 4 tensors taken\n"),
        (":best", "best-000004", "source, step 4 (best): 4 of 4 tensors taken\n"),
    ],
)
def test_a_training_starts_from_the_weights_of_a_run(train, source, capsys, which, checkpoint, told):
    started = train(f"trainer.start_from={source.directory}{which}", *STILL)
    assert has(started.model, weights_in(source, checkpoint))
    assert told in capsys.readouterr().err
    start = start_of(started)
    assert (start["step"], start["taken"]) == (int(checkpoint[-6:]), list(started.model.state_dict()))
    assert len(start["sha256"]) == 64


def test_the_optimizer_begins_anew_from_weights_that_were_started_from(train, source, tmp_path):
    """The same as from a file of the same weights: nothing but weights comes from a run."""
    save_file(weights_in(source, "step-000012"), tmp_path / "weights.safetensors")
    of_run = train(f"trainer.start_from={source.directory}", directory="of run")
    of_file = train(f"trainer.start_from={tmp_path / 'weights.safetensors'}", directory="of file")
    assert has(of_run.model, of_file.model.state_dict())
    assert not has(of_run.model, weights_in(source, "step-000012"))


def test_resuming_reads_nothing_anew_and_the_source_may_be_gone(train, source, assert_same_end):
    settings = (f"trainer.start_from={source.directory}", "trainer.schedule=constant")
    whole = train(*settings, directory="whole")
    parts = train(*settings, "trainer.steps=6", directory="parts")
    shutil.rmtree(source.directory)
    resumed = train(*settings, directory="parts", resume=True)
    assert_same_end(whole.run.directory, resumed.run.directory)
    assert start_of(resumed) == start_of(parts) == start_of(whole)


def test_resuming_without_a_checkpoint_starts_from_the_weights_again(train, source):
    setting = f"trainer.start_from={source.directory}"
    with pytest.raises(GraftworkError):
        train(setting, "task.ends_after=2", directory="parts")
    resumed = train(setting, *STILL, directory="parts", resume=True)
    assert has(resumed.model, weights_in(source, "step-000012"))


def save(folder, tensors, layout):
    folder.mkdir()
    if layout == "one file":
        save_file(tensors, folder / "model.safetensors")
        return
    files = {name: f"model-{number:05d}-of-00004.safetensors" for number, name in enumerate(tensors, 1)}
    for name, file in files.items():
        save_file({name: tensors[name]}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))


@pytest.mark.parametrize("layout", ["one file", "shards"])
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
def test_a_folder_of_weights_fits_whatever_wrapper_its_names_are_of(train, tmp_path, layout, prefix):
    weights = {name: torch.randn_like(value) for name, value in train(*STILL).model.state_dict().items()}
    save(tmp_path / "folder", {f"{prefix}{name}": value for name, value in weights.items()}, layout)
    started = train(f"trainer.start_from={tmp_path / 'folder'}", *STILL, directory="started")
    assert has(started.model, weights)
    assert all(len(digest) == 64 for digest in start_of(started)["files"].values())


def test_what_does_not_fit_is_told_and_the_rest_taken(train, tmp_path, capsys):
    fresh = train(*STILL).model.state_dict()
    weights = {
        "blocks.0.weight": torch.full((16, 4), 0.5, dtype=torch.float64),
        "blocks.0.bias": torch.zeros(3),
        "blocks.1.bias": torch.ones(3),
        **{f"head.{number}": torch.ones(1) for number in range(7)},
    }
    save_file(weights, tmp_path / "some.safetensors")
    started = train(f"trainer.start_from={tmp_path / 'some.safetensors'}", *STILL, directory="started")
    assert (
        "some.safetensors: 2 of 4 tensors taken; not there: blocks.1.weight; of another shape or kind: "
        "blocks.0.bias (float32[3] there, float32[16] here); not used: head.0, head.1, head.2, head.3 and 3 "
        "more; float64 is rounded to float32"
    ) in capsys.readouterr().err
    now = started.model.state_dict()
    assert (now["blocks.0.weight"] == 0.5).all()
    assert (now["blocks.1.bias"] == 1).all()
    assert all(torch.equal(now[name], fresh[name]) for name in ("blocks.0.bias", "blocks.1.weight"))
    assert start_of(started)["unused"] == [f"head.{number}" for number in range(7)]


def pickle_in(folder):
    torch.save({}, folder / "pytorch_model.bin")


def another_name(folder):
    save_file({"x": torch.ones(1)}, folder / "other.safetensors")


def half_a_file(folder):
    save_file({"blocks.1.bias": torch.ones(3)}, folder / "whole.safetensors")
    (folder / "model.safetensors").write_bytes((folder / "whole.safetensors").read_bytes()[:-1])


def foreign(folder):
    save_file({"encoder.x": torch.ones(1)}, folder / "model.safetensors")


def no_number(folder):
    save_file({"blocks.1.bias": torch.tensor([1.0, torch.nan, 1.0])}, folder / "model.safetensors")


def quantized(folder):
    weights = {
        "blocks.0.weight": torch.ones(16, 4, dtype=torch.int8),
        "blocks.1.weight": torch.ones(3, 16).to(torch.float8_e4m3fn),
    }
    save_file(weights, folder / "model.safetensors")


def index_that_leads_out(folder):
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"x": "../a.safetensors"}}')


def missing_shard(folder):
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"x": "a.safetensors"}}')


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (pickle_in, r"has no model\.safetensors, and pytorch_model\.bin is a pickle, which can run code"),
        (another_name, r"has no model\.safetensors; name one of its files: .*other\.safetensors"),
        (half_a_file, r"model\.safetensors cannot be read as safetensors"),
        (foreign, r"nothing of it fits the model: it has encoder\.x \(1 tensors\), and the model blocks\.0"),
        (no_number, r"blocks\.1\.bias holds what is not a number"),
        (quantized, r"nothing of it fits .*; names, shapes and kinds of numbers must be the same"),
        (index_that_leads_out, r"names '\.\./a\.safetensors', which is no \.safetensors file of the folder"),
        (missing_shard, r"a\.safetensors is missing, which model\.safetensors\.index\.json names"),
    ],
)
def test_weights_that_cannot_be_taken_are_one_sentence(train, tmp_path, make, sentence):
    folder = tmp_path / "folder"
    folder.mkdir()
    make(folder)
    with pytest.raises(GraftworkError, match=f"start_from .*folder.*{sentence}"):
        train(f"trainer.start_from={folder}", *STILL)


@pytest.mark.parametrize(
    ("start", "sentence"),
    [
        ("nowhere", "there is no such run, .safetensors file or folder"),
        ("", "there is no such run"),
        ("{source}:7", "has no checkpoint of step 7; kept are 9, 12"),
        ("{source}/recipe.toml", "recipe.toml is no .safetensors file"),
        ("{source}/checkpoints:best", "is no run, which ':best' would be of"),
        ("{run}", "there is no such run"),
    ],
)
def test_what_is_no_place_of_weights_is_one_sentence(train, source, tmp_path, start, sentence):
    start = start.format(source=source.directory, run=tmp_path / "run")
    with pytest.raises(GraftworkError, match=sentence):
        train(f"trainer.start_from={start}", *STILL)


def test_a_run_without_checkpoints_is_refused_and_so_is_the_run_itself(train, source, tmp_path):
    shutil.rmtree(source.directory / "checkpoints")
    for which, sentence in {
        "": "no checkpoint yet",
        ":best": "no best weights: it was not evaluated",
    }.items():
        with pytest.raises(GraftworkError, match=sentence):
            train(f"trainer.start_from={source.directory}{which}", *STILL)
    with pytest.raises(GraftworkError, match="is the run itself, which has nothing yet"):
        train(f"trainer.start_from={source.directory}", *STILL, directory="source", resume=True)


def test_a_checkpoint_that_is_removed_while_it_is_read_is_read_from_the_next(train, source, monkeypatch):
    """A run that is being trained saves a newer one and lets go of the one that is read."""
    import graftwork_trainer.weights.starting as starting

    newest, taken = source.checkpoints.directory / "step-000012", starting.take
    aside = newest.rename(newest.with_name("step-000012.aside"))

    def take_as_it_goes(model, of, found):
        if aside.exists():
            aside.rename(newest)
            shutil.rmtree(source.checkpoints.directory / "step-000009")
        taken(model, of, found)

    monkeypatch.setattr(starting, "take", take_as_it_goes)
    started = train(f"trainer.start_from={source.directory}", *STILL)
    assert start_of(started)["step"] == 12


def test_tensors_that_a_model_ties_count_once_and_must_be_one():
    model = nn.ModuleDict({"embedding": nn.Embedding(5, 3), "head": nn.Linear(3, 5, bias=False)})
    model["head"].weight = model["embedding"].weight
    found = match(model, {"embedding.weight": Found((5, 3), torch.float32)})
    assert (found.fitted, found.tensors, found.missing, found.tied) == (1, 1, [], [])
    both = {name: Found((5, 3), torch.float32) for name in ("embedding.weight", "head.weight")}
    assert match(model, both).tied == [["embedding.weight", "head.weight"]]


def test_the_body_that_transformers_saves_without_a_head_is_found_in_a_model_with_one():
    body, whole = nn.Module(), nn.Module()
    body.layer = nn.Linear(2, 2)
    whole.base_model_prefix, whole.base, whole.head = "base", body, nn.Linear(2, 1)
    body.base_model_prefix = "base"
    of_body = {name: Found(tuple(value.shape), value.dtype) for name, value in body.state_dict().items()}
    of_whole = {name: Found(tuple(value.shape), value.dtype) for name, value in whole.state_dict().items()}
    found = match(whole, of_body)
    assert found.taken == {"base.layer.weight": "layer.weight", "base.layer.bias": "layer.bias"}
    assert list(found.missing) == ["head.weight", "head.bias"]
    found = match(body, of_whole)
    assert found.taken == {"layer.weight": "base.layer.weight", "layer.bias": "base.layer.bias"}
    assert list(found.unused) == ["head.weight", "head.bias"]


def test_a_dry_run_says_what_would_be_taken(toy, train, source, tmp_path):
    from graftwork import build_recipe
    from graftwork_trainer.dry_run import describe

    recipe = {
        "task": {"name": "regression"},
        "optimizer": {"name": "adamw"},
        "trainer": {"name": "standard", "start_from": str(source.directory)},
    }
    assert "source, step 12: 4 of 4 tensors taken" in describe(build_recipe(recipe).resolve())


def test_a_layer_within_an_adapter_takes_what_the_plain_one_has():
    adapted = nn.Module()
    adapted.layer = nn.ModuleDict({"base_layer": nn.Linear(2, 2, bias=False), "lora_A": nn.Linear(2, 1)})
    plain = {"layer.weight": Found((2, 2), torch.float32)}
    found = match(adapted, plain)
    assert (found.taken, found.unused) == ({"layer.base_layer.weight": "layer.weight"}, [])
    assert list(found.missing) == ["layer.lora_A.weight", "layer.lora_A.bias"]
    of_adapted = {
        name: Found(tuple(value.shape), value.dtype) for name, value in adapted.state_dict().items()
    }
    assert match(adapted, of_adapted).fitted == 3
