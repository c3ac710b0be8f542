"""A tiny random causal language model, a tokenizer trained on the spot, and made-up questions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from graftwork import choose
from graftwork_text.tasks.answering.prompt_answering import PromptAnswering

COLOURS = ["red", "blue", "dark green", "yellow"]
THINGS = ["door", "house", "car", "cat", "boat"]


def question(number: int) -> dict[str, Any]:
    colour, thing = COLOURS[number % 4], THINGS[number % 5]
    return {
        "context": f"{number}: there is a {thing}, and it is {colour}.",
        "question": f"What colour is the {thing}?",
    }


def free(number: int) -> dict[str, Any]:
    return {**question(number), "answers": [COLOURS[number % 4], f"It is {COLOURS[number % 4]}"]}


def choice(number: int) -> dict[str, Any]:
    """Two to four options, the right one by place or by its text."""
    options = COLOURS[: 2 + number % 3]
    right = number % len(options)
    return {**question(number), "options": options, "answer": right if number % 2 else options[right]}


ROWS: dict[str, Callable[[int], dict[str, Any]]] = {"free": free, "choice": choice}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaMA of two layers and 128 positions; byte-level BPE behind <s>."""
    folder = tmp_path_factory.mktemp("causal")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    texts = [" ".join(question(number).values()) + "\nQuestion: \nAnswer:" for number in range(20)]
    backend.train_from_iterator(texts, trainer)
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", model_max_length=128
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=128, bos_token_id=0, eos_token_id=1,
        initializer_range=0.2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def task_of(folder: Path, questions: Callable[..., str]) -> Callable[..., PromptAnswering]:
    """The task on 40 made-up questions of a form; some options override."""

    def make(form: str, **options: Any) -> PromptAnswering:
        rows = [ROWS[form](number) for number in range(40)]
        settings: dict[str, Any] = {
            "model": str(folder),
            "data": questions(rows, f"{form}.jsonl"),
            "max_length": 128,
            "max_new_tokens": 12,
            "batch_size": 4,
        }
        return choose("task", "prompt-answering", settings | options)()

    return make
