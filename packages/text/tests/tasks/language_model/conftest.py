"""A small library of made-up text, and a model that is quick to train."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from graftwork_text.corpora import Document
from graftwork_text.tasks.language_model.lm_pretrain import LanguageModelPretraining
from graftwork_text.tasks.language_model.splitting import SplitDocuments, tested_text
from graftwork_text.tasks.language_model.text_store import TextStore

WORDS = ["the", "a", "of", "with", "model", "weight", "gradient", "learns", "slowly", "naïve", "café", "data"]


def sentences(seed: int, count: int) -> str:
    draw = random.Random(seed)
    return " ".join(" ".join(draw.choices(WORDS, k=9)).capitalize() + "." for _ in range(count))


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """60 documents of two paragraphs each, with letters of more than one byte."""
    folder = tmp_path / "library"
    folder.mkdir()
    for number in range(60):
        text = f"{sentences(number, 5)}\n\n{sentences(1000 + number, 4)} «{number}» 😀"
        (folder / f"text-{number:02d}.txt").write_text(text, "utf-8")
    return folder


Split = Callable[..., SplitDocuments]


@pytest.fixture
def split(tmp_path: Path) -> Iterator[Split]:
    """Split documents, their texts in a store of the test's folder."""
    with ExitStack() as stores:
        numbers = itertools.count()

        def make(
            documents: Iterable[Document], fraction: float, tested: Iterable[Document] | None = None
        ) -> SplitDocuments:
            store = stores.enter_context(TextStore(tmp_path / f"texts-{next(numbers)}"))
            held_out = None if tested is None else tested_text(tested)
            return SplitDocuments(documents, fraction, store, held_out)

        yield make


class Bigram(nn.Module):
    """Logits of the next token from the current one alone."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocab_size, vocab_size)
        self.dropout = nn.Dropout(0.5)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.dropout(self.table(tokens))
        return logits


@pytest.fixture
def make_task(library: Path, tmp_path: Path) -> Callable[..., LanguageModelPretraining]:
    """Build the task on the library, small; options override."""

    def make(**options: Any) -> LanguageModelPretraining:
        settings: dict[str, Any] = {
            "model": Bigram,
            "data": str(library),
            "sequence_length": 16,
            "batch_size": 4,
            "vocabulary_size": 320,
            "validation_fraction": 0.2,
            "evaluation_tokens": 100_000,
            "cache": tmp_path / "cache",
        }
        return LanguageModelPretraining(**(settings | options))

    return make
