"""Tiny random transformers with tokenizers trained on the spot, and a table of made-up reviews."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

GOOD = ["a great film", "moving and great", "it is wonderful", "wonderful moving acting"]
BAD = ["a terrible film", "boring and terrible", "it is dull", "dull boring acting"]
TEXTS = [
    *GOOD,
    *BAD,
    "It was great .",
    "It was terrible .",
    "This movie is great .",
    "yes no maybe ? , :",
    "0 1 2 3 4 5 6 7 8 9 1234567890 9876543210",
]


def save_word_tokenizer(folder: Path) -> Any:
    """WordPiece between [CLS] and [SEP]."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.train_from_iterator(TEXTS * 3, trainers.WordPieceTrainer(vocab_size=300, special_tokens=special))
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=64,
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    return tokenizer


def save_byte_tokenizer(folder: Path) -> Any:
    """Byte-level BPE behind <s>."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    backend.train_from_iterator(TEXTS * 3, trainer)
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", model_max_length=64
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def bert_config(vocabulary: int) -> BertConfig:
    return BertConfig(
        vocab_size=vocabulary, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=64,
    )  # fmt: skip


@pytest.fixture(scope="session")
def masked_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked language model with its head."""
    folder = tmp_path_factory.mktemp("masked")
    tokenizer = save_word_tokenizer(folder)
    torch.manual_seed(0)
    BertForMaskedLM(bert_config(len(tokenizer))).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def sentence_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence encoder: no head, and the mark of one."""
    folder = tmp_path_factory.mktemp("sentences")
    tokenizer = save_word_tokenizer(folder)
    torch.manual_seed(0)
    BertModel(bert_config(len(tokenizer))).save_pretrained(folder)
    (folder / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0"}]))
    return folder


@pytest.fixture(scope="session")
def causal_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal language model, tied."""
    folder = tmp_path_factory.mktemp("causal")
    tokenizer = save_byte_tokenizer(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=64, tie_word_embeddings=True, bos_token_id=0,
        eos_token_id=1, initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 different short reviews with their labels, good and bad in turn."""
    draw = random.Random(0)
    lines = []
    for number in range(120):
        words = " and ".join(draw.choices(GOOD if number % 2 else BAD, k=draw.randint(1, 4)))
        lines.append(
            json.dumps({"text": f"{number} {words}", "label": "positive" if number % 2 else "negative"})
        )
    path = tmp_path_factory.mktemp("reviews") / "reviews.jsonl"
    path.write_text("\n".join(lines))
    return path


Options = Callable[..., dict[str, Any]]


@pytest.fixture
def small(reviews: Path) -> Options:
    """Options of a task on the reviews; some override."""

    def make(model: Path, **options: Any) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "model": str(model),
            "data": str(reviews),
            "max_length": 48,
            "batch_size": 4,
        }
        return settings | options

    return make


@pytest.fixture
def prompt_file(tmp_path: Path) -> Callable[[str], str]:
    """Write a file of prompts and return its path."""

    def write(content: str) -> str:
        path = tmp_path / "prompts.toml"
        path.write_text(content, "utf-8")
        return str(path)

    return write
