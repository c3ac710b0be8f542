"""The smallest data and weights that the tasks train on: made in a folder, in a second, from nothing.

Tests of all combinations of tasks, trainers and optimizers train on them (``smallest`` of
:class:`graftwork.Task`); nobody learns anything from them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_COLOURS = ("red", "blue", "green")
_THINGS = ("door", "house", "boat", "cat", "car")
_POSITIONS = 64


def _sentences() -> Iterator[tuple[str, str]]:
    """Sentences and the colour in each."""
    number = 0
    while True:
        colour = _COLOURS[number % len(_COLOURS)]
        yield f"Here stands a {_THINGS[number % len(_THINGS)]}, and it is {colour}.", colour
        number += 1


def texts(folder: Path) -> str:
    """Write a dozen documents; return the folder that holds them."""
    documents = folder / "texts"
    documents.mkdir(parents=True, exist_ok=True)
    sentences = _sentences()
    for number in range(12):
        (documents / f"{number}.txt").write_text(" ".join(next(sentences)[0] for _ in range(40)), "utf-8")
    return str(documents)


def labelled(folder: Path) -> str:
    """Write a table of 60 rows, half of one label; return its path."""
    path = folder / "labelled.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["text", "label"])
        for _, (sentence, colour) in zip(range(60), _sentences(), strict=False):
            table.writerow([sentence, int(colour == "red")])
    return str(path)


def questions(folder: Path) -> str:
    """Write 40 questions with options; return the path."""
    path = folder / "questions.jsonl"
    with path.open("w", encoding="utf-8") as stream:
        for _, (sentence, colour) in zip(range(40), _sentences(), strict=False):
            question = {
                "context": sentence,
                "question": "What colour?",
                "options": _COLOURS,
                "answer": colour,
            }
            stream.write(json.dumps(question) + "\n")
    return str(path)


def weights(folder: Path) -> str:
    """Write a LLaMA of one layer with random weights, and a byte-level tokenizer; return the folder."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokens = _byte_tokenizer(folder / "weights")
    config = LlamaConfig(
        vocab_size=tokens,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=_POSITIONS,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    with _first_seed():
        LlamaForCausalLM(config).save_pretrained(folder / "weights")
    return str(folder / "weights")


def encoder(folder: Path) -> str:
    """Write a BERT of one layer with random weights, and a byte-level tokenizer; return the folder."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=_byte_tokenizer(folder / "weights"),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=_POSITIONS,
        pad_token_id=1,
    )
    with _first_seed():
        BertModel(config).save_pretrained(folder / "weights")
    return str(folder / "weights")


@contextmanager
def _first_seed() -> Iterator[None]:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def _byte_tokenizer(folder: Path) -> int:
    """Write a tokenizer; return how many tokens it has."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    numbers = {token: number for number, token in enumerate(["<s>", "</s>", *alphabet])}
    backend = Tokenizer(models.BPE(numbers, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    fast: Any = PreTrainedTokenizerFast
    tokenizer = fast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
        model_max_length=_POSITIONS,
    )
    tokenizer.save_pretrained(folder)
    return len(numbers)


def fine_tuning(folder: Path, data: str, model: str | None = None) -> dict[str, object]:
    """Options of a fine-tuning on some data: tiny weights (causal unless given), small batches."""
    return {
        "model": model or weights(folder),
        "data": data,
        "max_length": _POSITIONS,
        "batch_size": 4,
        "evaluation_batch_size": 8,
    }
