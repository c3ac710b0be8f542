"""Pretrained models by name or folder: what can be said without a network or a download.

Reached from here: ``sources/pin.py``, ``sources/registered.py``.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel

from graftwork import GraftworkError, MissingExtraError
from graftwork_text.models import packaged
from graftwork_text.models.packaged import QuantisedWeights, minilm, smollm2_135m
from graftwork_text.models.pretrained import find_pretrained
from graftwork_text.sources.pin import Pin


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = BertConfig(
        vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    BertModel(config).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_shipped_weights_say_where_they_come_from_before_anything_is_fetched() -> None:
    for weights in (minilm, smollm2_135m):
        assert "==" in weights.identity["package"]
        assert len(weights.identity["sha256"]) == 64
    assert find_pretrained("minilm").identity == minilm.identity
    assert smollm2_135m.identity["weights"] == "dequantised Q4_1"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_folder_is_loaded_as_it_is(folder: Path, dtype: Any) -> None:
    model, missing = find_pretrained(str(folder)).load("AutoModel", dtype=dtype)
    assert not missing
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype)}
    saved = BertModel.from_pretrained(folder).state_dict()
    assert all(
        torch.equal(tensor.to(getattr(torch, dtype)), model.state_dict()[name])
        for name, tensor in saved.items()
    )


def test_weights_that_are_not_in_the_folder_are_named(folder: Path) -> None:
    _, missing = find_pretrained(str(folder)).load("AutoModelForSequenceClassification", dtype="float32")
    assert missing == {"classifier.weight", "classifier.bias"}


def test_the_identity_of_a_folder_changes_with_its_configuration(folder: Path) -> None:
    before = find_pretrained(str(folder)).identity
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"gelu"', '"relu"'))
    after = find_pretrained(str(folder)).identity
    assert before["files_sha256"] != after["files_sha256"]
    assert before["weight_files"] == after["weight_files"]


def test_the_identity_of_a_folder_changes_with_its_weights(folder: Path) -> None:
    before = find_pretrained(str(folder)).identity
    trained = BertModel.from_pretrained(folder)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.mul_(1.001)
    trained.save_pretrained(folder)
    after = find_pretrained(str(folder)).identity
    assert before["files_sha256"] == after["files_sha256"]
    assert before["weight_files"] == after["weight_files"]
    assert before["weight_samples_sha256"] != after["weight_samples_sha256"]


def test_the_identity_of_a_hub_name_is_the_commit_in_the_hubs_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    commit = "0123456789abcdef" * 2 + "01234567"
    model = tmp_path / "models--graftwork--tiny"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(commit)
    (model / "snapshots").mkdir()
    folder.rename(model / "snapshots" / commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    found = find_pretrained("graftwork/tiny")
    assert found.identity == {"hub": "graftwork/tiny", "commit": commit}
    _, missing = found.load("AutoModel", dtype="float32")
    assert not missing
    snapshot = model / "snapshots" / commit
    (snapshot / "model.safetensors").rename(snapshot / "pytorch_model.bin")
    with pytest.raises(GraftworkError, match=r"'graftwork/tiny': transformers cannot load it: .*safetensors"):
        found.load("AutoModel", dtype="float32")


@pytest.mark.parametrize("name", ["/no/such/folder", "./weights", "~/weights", "a/b/c", ""])
def test_a_path_that_is_no_folder(name: str) -> None:
    with pytest.raises(GraftworkError, match=r"is not a folder.*registered are minilm, smollm2-135m"):
        find_pretrained(name)


def test_without_a_network_a_hub_name_is_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        GraftworkError,
        match=r"'minilmm': transformers cannot load it: .*did you mean 'minilm'\?.*give a folder",
    ):
        find_pretrained("minilmm").config()


def test_unpacking_without_gguf_is_refused_before_any_work_and_once_it_is_done_needs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path))
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gguf" else find_spec(name))
    with pytest.raises(MissingExtraError, match=r"'smollm2-135m'.* needs gguf, .*'graftwork-text\[gguf\]'"):
        find_pretrained("smollm2-135m")
    assert not list(tmp_path.iterdir())
    entry = tmp_path / "models" / f"smollm2-135m-{smollm2_135m.pin.sha256[:12]}-bfloat16"
    entry.mkdir(parents=True)
    assert find_pretrained("text:smollm2-135m").source() == str(entry)


def test_unpacking_at_a_dry_run_computes_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path))
    monkeypatch.setattr(QuantisedWeights, "require", lambda self: None)
    monkeypatch.setattr(Pin, "fetch", lambda self: tmp_path / "weights.gguf")

    def convert(file: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "device").write_text(str(torch.empty(1).device))

    monkeypatch.setattr(packaged, "_convert", convert)
    with torch.device("meta"):
        folder = smollm2_135m()
    assert (folder / "device").read_text() == "cpu"
