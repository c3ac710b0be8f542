"""Tiny random transformers with tokenizers trained on the spot, made-up reviews, and ways of training."""

from __future__ import annotations

import json
import random
import tomllib
from collections.abc import Callable, Iterator
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

from graftwork import GraftworkError, build_recipe, get_registry, parse_set
from graftwork.resolution import Resolved
from graftwork.testing import write_plugin
from graftwork_trainer.checkpoint import open_checkpoint
from graftwork_trainer.data.batches import StepBatches
from graftwork_trainer.run_directory import RunDirectory


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small lose more than they gain by threads, above all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugins")
    write_plugin(folder, "toy", (Path(__file__).parent / "toy.py").read_text("utf-8"))
    return folder


@pytest.fixture
def toy(toy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The toy plugin, the trainer's and this package's own, and no others, in this process."""
    monkeypatch.syspath_prepend(str(toy_folder))
    monkeypatch.setenv("GRAFTWORK_PLUGINS", "toy,trainer,text")
    get_registry.cache_clear()
    yield
    get_registry.cache_clear()


@pytest.fixture
def resolve(toy: None) -> Callable[..., Resolved]:
    """A recipe's text with some settings, resolved."""

    def make(recipe: str, *settings: str) -> Resolved:
        overrides = [parse_set(setting) for setting in settings]
        return build_recipe(tomllib.loads(recipe), overrides=overrides).resolve()

    return make


def _fit(resolved: Resolved, directory: Path, *, resume: bool = False) -> Path:
    trainer, task = resolved.trainer(), resolved.task()
    run = RunDirectory(directory, resolved, {}, resume=resume, quiet=True)
    trainer.fit(task, resolved, run)
    return directory


@pytest.fixture
def fit() -> Callable[..., Path]:
    """Train a resolved recipe into a folder and return it."""
    return _fit


def _records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def records() -> Callable[[Path], list[dict[str, Any]]]:
    """The records of a run's metrics."""
    return _records


@pytest.fixture
def fit_whole_and_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Resolved, int], Path]:
    """Train at once, and again with a break after some batches; see that both end alike to the bit."""

    def weights(run: Path) -> dict[str, torch.Tensor]:
        newest = open_checkpoint(max((run / "checkpoints").iterdir()))
        found: dict[str, torch.Tensor] = newest.part("model")["model"]
        return found

    def losses(run: Path) -> list[float]:
        return [record["train/loss"] for record in _records(run) if "train/loss" in record]

    def train(resolved: Resolved, batches: int) -> Path:
        whole, parts = _fit(resolved, tmp_path / "whole"), tmp_path / "parts"
        draw, drawn = StepBatches.next_step, []

        def draw_some(self: StepBatches) -> Any:
            drawn.append(1)
            if len(drawn) > batches:
                raise GraftworkError("enough")
            return draw(self)

        with monkeypatch.context() as patch:
            patch.setattr(StepBatches, "next_step", draw_some)
            with pytest.raises(GraftworkError, match="enough"):
                _fit(resolved, parts)
        _fit(resolved, parts, resume=True)
        one, other = weights(whole), weights(parts)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
        assert losses(whole) == losses(parts)
        return whole

    return train


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
