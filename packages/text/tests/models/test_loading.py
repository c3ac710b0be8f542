"""Pickles and code planted in the folders of models and tokenizers: none runs, each is one sentence."""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel

from graftwork import GraftworkError
from graftwork_text.models.pretrained import find_pretrained
from graftwork_text.tasks.language_model.tokenization import load_tokenizer, tokenizer_identity


class Planted:
    """What is planted in a folder, and the file that it makes if it runs."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker
        self.code = f"import os\nos.system('touch {marker}')\n"
        buffer = io.BytesIO()
        torch.save({"weight": self}, buffer)
        self.saved = buffer.getvalue()
        self.pickled = pickle.dumps(self)

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    return Planted(tmp_path / "marker")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model and its tokenizer."""
    path = tmp_path / "model"
    config = BertConfig(
        vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    BertModel(config).save_pretrained(path)
    (path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]))
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizerFast"}))
    return path


def change_json(file: Path, **values: Any) -> None:
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**content, **values}))


def only_a_pickle(folder: Path, planted: Planted) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(planted.saved)


def pickles_by_an_index(folder: Path, planted: Planted) -> None:
    only_a_pickle(folder, planted)
    (folder / "other.safetensors").touch()
    change_json(folder / "model.safetensors.index.json", metadata={}, weight_map={"a": "pytorch_model.bin"})


def a_pickle_named_by_the_configuration(folder: Path, planted: Planted) -> None:
    (folder / "adapter_model.bin").write_bytes(planted.saved)
    change_json(folder / "config.json", transformers_weights="adapter_model.bin")


def an_adapter_that_is_a_pickle(folder: Path, planted: Planted) -> None:
    (folder / "adapter_model.bin").write_bytes(planted.saved)
    change_json(
        folder / "adapter_config.json",
        peft_type="LORA",
        base_model_name_or_path=str(folder),
        r=2,
        target_modules=["query"],
    )


def a_pickle_called_safetensors(folder: Path, planted: Planted) -> None:
    (folder / "model.safetensors").write_bytes(planted.saved)


def a_pickle_for_a_configuration(folder: Path, planted: Planted) -> None:
    (folder / "config.json").write_bytes(planted.pickled)


def code_for_a_model(folder: Path, planted: Planted) -> None:
    (folder / "evil.py").write_text(planted.code)
    change_json(
        folder / "config.json",
        model_type="evil",
        auto_map={"AutoConfig": "evil.Config", "AutoModel": "evil.Model"},
    )


REFUSED: dict[Callable[[Path, Planted], None], str] = {
    only_a_pickle: r"its weights are in pytorch_model\.bin, a pickle, which can run code",
    pickles_by_an_index: r"its model\.safetensors\.index\.json names 'pytorch_model\.bin'",
    a_pickle_named_by_the_configuration: r"its config\.json names 'adapter_model\.bin'",
    an_adapter_that_is_a_pickle: "No such file or directory: .*adapter_model.safetensors",
    a_pickle_called_safetensors: "header",
    a_pickle_for_a_configuration: "JSON|utf-8",
    code_for_a_model: "it brings code of its own, which is never run",
}


@pytest.mark.parametrize("plant", REFUSED, ids=lambda plant: plant.__name__)
def test_a_model_that_would_run_code_is_one_sentence(
    folder: Path, planted: Planted, plant: Callable[[Path, Planted], None]
) -> None:
    plant(folder, planted)
    with pytest.raises(GraftworkError, match=f"model .*{REFUSED[plant]}") as caught:
        find_pretrained(str(folder)).load("AutoModel", dtype="float32")
    assert "\n" not in str(caught.value)
    assert not planted.marker.exists()


def test_what_lies_beside_safe_weights_is_not_read(folder: Path, planted: Planted) -> None:
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt", ".metadata", "__0_0.distcp"):
        (folder / name).write_bytes(planted.saved)
    (folder / "evil.py").write_text(planted.code)
    # An architecture that transformers has code for; what the author offers instead is not used.
    change_json(folder / "config.json", auto_map={"AutoConfig": "evil.Config", "AutoModel": "evil.Model"})
    _, missing = find_pretrained(str(folder)).load("AutoModel", dtype="float32")
    assert not missing
    assert not planted.marker.exists()


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "vocab.txt"])
def test_a_pickle_in_a_tokenizers_folder_is_one_sentence(folder: Path, planted: Planted, name: str) -> None:
    (folder / name).write_bytes(planted.pickled)
    for load in (load_tokenizer, lambda path: find_pretrained(str(path)).tokenizer()):
        with pytest.raises(GraftworkError, match="transformers cannot load it: ") as caught:
            load(folder)
        assert "\n" not in str(caught.value)
    assert not planted.marker.exists()


@pytest.mark.parametrize(
    "content",
    ["[]", "[1]", "3", "null", '"bert"', '{"model_type": []}', '{"model_type": "bert", "hidden_size": {}}'],
)
def test_a_configuration_that_is_none_is_one_sentence_of_whoever_reads_it(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    found = find_pretrained(str(folder))
    loads: list[Callable[[], object]] = [
        found.config,
        lambda: found.load("AutoModel", dtype="float32"),
        lambda: found.load_encoder(dtype="float32"),
        lambda: found.load("AutoModelForSequenceClassification", dtype="float32", num_labels=3),
    ]
    for device in ("cpu", "meta"):
        for load in loads:
            with torch.device(device), pytest.raises(GraftworkError, match=f"^model '{folder}'") as caught:
                load()
            assert "\n" not in str(caught.value)


def test_a_tokenizer_is_not_run_either(folder: Path, planted: Planted) -> None:
    (folder / "evil.py").write_text(planted.code)
    (folder / "vocab.txt").unlink()
    change_json(
        folder / "tokenizer_config.json",
        tokenizer_class="Evil",
        auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]},
    )
    change_json(folder / "config.json", model_type="evil", auto_map={"AutoConfig": "evil.Config"})
    for load in (load_tokenizer, lambda path: find_pretrained(str(path)).tokenizer()):
        with pytest.raises(GraftworkError):
            load(folder)
    assert not planted.marker.exists()
    (folder / "tokenizer.json").write_bytes(planted.pickled)
    with pytest.raises(GraftworkError, match=r"is not a tokenizer\.json"):
        load_tokenizer(folder / "tokenizer.json")
    assert not planted.marker.exists()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "added_tokens.json"])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "is no file; remove it"),
        (lambda path: path.symlink_to("gone"), "a link to gone, which leads nowhere"),
        (lambda path: path.symlink_to("/proc/self/mem"), "Input/output error"),
    ],
)
def test_what_cannot_be_read_is_named_and_never_waited_for(
    folder: Path, name: str, make: Callable[[Path], None], message: str
) -> None:
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    with pytest.raises(GraftworkError, match=f"{folder / name}.*{message}"):
        _ = find_pretrained(str(folder)).identity
    if "token" in name:
        with pytest.raises(GraftworkError, match=f"{folder / name}.*{message}"):
            tokenizer_identity(folder, 300)
    if make is os.mkfifo:
        for path in (folder, folder / name):
            with pytest.raises(GraftworkError, match=f"{folder / name} is no file"):
                load_tokenizer(path)
