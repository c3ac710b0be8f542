"""``graftwork export``.

Reached from here: ``commands/export.py``, ``usage/named.py``.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from graftwork_trainer.model_folder.manifest import Manifest


def sentence(capfd):
    (last,) = capfd.readouterr().err.splitlines()[-1:]
    assert last.startswith("graftwork: error: ")
    return last.removeprefix("graftwork: error: ")


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_is_a_copy_of_the_runs_model(train, graftwork, capfd):
    run = train()
    Path("empty").mkdir()
    assert graftwork("export", "run", "empty", "--format", "safetensors") == 0
    assert files(Path("empty")) == files(run / "model")
    assert "empty: the model of step 4 in the layout of safetensors" in capfd.readouterr().out
    assert graftwork("export", "run", "empty") == 2
    assert sentence(capfd) == "empty holds something already; export to a folder that does not exist"
    assert files(Path("empty")) == files(run / "model")


def test_other_weights_of_the_run_are_written_the_same_way(train, graftwork):
    run = train("task.validation_loss_rises=true")
    assert graftwork("export", "run:best", "best") == 0
    assert graftwork("export", "run:4", "last") == 0
    assert Manifest.read(Path("best")).weights == "best-000002"
    assert Manifest.read(Path("best")).metrics["validation/loss"] > 0
    assert files(Path("best")).keys() == files(run / "model").keys()
    one, other = (load_file(f"{name}/model.safetensors") for name in ("best", "last"))
    assert not any(torch.equal(one[name], other[name]) for name in one)


def test_what_cannot_be_is_one_sentence_and_leaves_nothing(train, graftwork, capfd):
    run = train()
    assert graftwork("export", "run", "out", "--format", "timm") == 2
    assert "run cannot be exported in the layout of timm: its model is none of that library's" in sentence(
        capfd
    )
    assert graftwork("export", "nowhere", "out") == 2
    assert sentence(capfd).startswith("nowhere is no run: there is no such directory")
    weights = run / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    assert graftwork("export", "run", "out") == 2
    assert "model.safetensors is damaged: its SHA-256 is not the one" in sentence(capfd)
    assert not list(Path().glob("out*"))
    assert graftwork("export", "run:newest", "out") == 0
