"""Byte-level BPE, tokenizers of the user's, and the bytes that tokens stand for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graftwork import GraftworkError
from graftwork_text.tasks.language_model.tokenization import (
    END_OF_TEXT,
    SMALLEST_VOCABULARY,
    TextTokenizer,
    load_tokenizer,
    tokenizer_identity,
    train_tokenizer,
)

TEXTS = [
    "The gradient of the loss is the sum of the gradients.",
    "  leading spaces,\ttabs\n\nand\r\nline breaks  ",
    "naïve café — «ça va?» 日本語 😀😀 \u200b end",
    f"a text that quotes {END_OF_TEXT} in the middle",
    "",
]


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return train_tokenizer(TEXTS[:1] * 20, 300)


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_comes_back(tokenizer: TextTokenizer, text: str) -> None:
    (ids,) = tokenizer.encode([text])
    assert tokenizer.decode(ids.tolist()) == text
    assert tokenizer.end_of_text not in ids


@pytest.mark.parametrize("text", TEXTS)
def test_bytes_of_the_tokens_are_the_bytes_of_the_text(tokenizer: TextTokenizer, text: str) -> None:
    ((ids, added, _),) = tokenizer.encode_pieces_with_bytes([text])
    (plain,) = tokenizer.encode([text])
    np.testing.assert_array_equal(ids, plain)
    assert added.sum() == len(text.encode())
    assert (added >= 0).all()


def test_bytes_of_each_token_of_plain_text(tokenizer: TextTokenizer) -> None:
    ((ids, added, _),) = tokenizer.encode_pieces_with_bytes(["The loss of the gradients"])
    assert [len(tokenizer.decode([token])) for token in ids] == added.tolist()


def test_training_is_deterministic(tmp_path: Path) -> None:
    for name in ("a", "b"):
        train_tokenizer(TEXTS * 5, 300).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_vocabulary_has_every_byte_and_is_bounded(tokenizer: TextTokenizer) -> None:
    assert train_tokenizer(["a"], SMALLEST_VOCABULARY).vocabulary == SMALLEST_VOCABULARY
    assert SMALLEST_VOCABULARY < tokenizer.vocabulary <= 300


def test_users_file(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = load_tokenizer(tmp_path / "tokenizer.json")
    assert loaded.end_of_text == tokenizer.end_of_text
    assert loaded.vocabulary == tokenizer.vocabulary
    np.testing.assert_array_equal(next(loaded.encode(TEXTS[:1])), next(tokenizer.encode(TEXTS[:1])))


def test_truncation_and_padding_of_the_users_file_are_switched_off(
    tokenizer: TextTokenizer, tmp_path: Path
) -> None:
    backend: Any = tokenizer.backend
    backend.enable_truncation(4)
    backend.enable_padding(length=64)
    tokenizer.save(tmp_path / "tokenizer.json")
    backend.no_truncation()
    backend.no_padding()
    (ids,) = load_tokenizer(tmp_path / "tokenizer.json").encode(TEXTS[:1])
    assert len(ids) == len(next(tokenizer.encode(TEXTS[:1])))


def save_folder(tokenizer: TextTokenizer, folder: Path, **special_tokens: str) -> None:
    import transformers

    wrapper: Any = transformers.PreTrainedTokenizerFast
    wrapper(tokenizer_object=tokenizer.backend, **special_tokens).save_pretrained(folder)


def test_users_folder(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    save_folder(tokenizer, tmp_path / "folder", eos_token=END_OF_TEXT)
    loaded = load_tokenizer(tmp_path / "folder")
    assert loaded.end_of_text == tokenizer.end_of_text
    assert loaded.decode(next(loaded.encode(TEXTS[:1])).tolist()) == TEXTS[0]


def test_identity_of_a_folder_leaves_weights_out(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    save_folder(tokenizer, tmp_path / "folder", eos_token=END_OF_TEXT)
    before = tokenizer_identity(tmp_path / "folder", 300)
    (tmp_path / "folder" / "model.safetensors").write_bytes(b"weights")
    assert tokenizer_identity(tmp_path / "folder", 300) == before
    (tmp_path / "folder" / "tokenizer.json").write_text("{}")
    assert tokenizer_identity(tmp_path / "folder", 300) != before


def test_users_folder_without_an_end_of_text(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    save_folder(tokenizer, tmp_path / "folder")
    with pytest.raises(GraftworkError, match="declares no eos_token"):
        load_tokenizer(tmp_path / "folder")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(GraftworkError, match=r"nowhere\.json' does not exist; give a tokenizer\.json"):
        load_tokenizer(tmp_path / "nowhere.json")
    with pytest.raises(GraftworkError, match=r"nowhere\.json' does not exist"):
        tokenizer_identity(tmp_path / "nowhere.json", 300)


def test_file_that_is_no_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(GraftworkError, match=r"is not a tokenizer\.json"):
        load_tokenizer(tmp_path / "tokenizer.json")


def test_folder_that_is_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(GraftworkError, match="transformers cannot load it"):
        load_tokenizer(tmp_path)


def test_file_without_an_end_of_text(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    tokenizer.save(file)
    content = json.loads(file.read_text("utf-8"))
    content["added_tokens"] = []
    content["model"]["vocab"]["<other>"] = content["model"]["vocab"].pop(END_OF_TEXT)
    file.write_text(json.dumps(content), "utf-8")
    with pytest.raises(GraftworkError, match="none of the end-of-text tokens"):
        load_tokenizer(file)
