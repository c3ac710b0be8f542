"""How held-out texts go on, beside what a model writes.

Reached from here: ``tasks/language_model/writing.py``.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graftwork_text.tasks.language_model.continuations import continued
from graftwork_text.tasks.language_model.lm_pretrain import LanguageModelPretraining
from graftwork_trainer.evaluation import evaluation_mode

MakeTask = Callable[..., LanguageModelPretraining]


class Reciting(nn.Module):
    """Gives the tokens of a text one after another, whatever comes in."""

    def __init__(self, tokens: list[int], vocabulary: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.tokens, self.vocabulary, self.calls = tokens, vocabulary, 0

    def forward(self, inputs: Tensor) -> Tensor:
        logits = torch.zeros(*inputs.shape, self.vocabulary)
        logits[:, -1, self.tokens[self.calls % len(self.tokens)]] = 1
        self.calls += 1
        return logits


def written(task: LanguageModelPretraining, model: nn.Module, folder: Path) -> list[dict[str, str]]:
    folder.mkdir()
    with evaluation_mode(model):
        task.artefacts(model, folder)
    path = folder / "continuations.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_each_row_is_a_held_out_text_cut_in_two_and_what_the_model_writes(
    make_task: MakeTask, library: Path, tmp_path: Path
) -> None:
    task = make_task(sequence_length=48)
    tokenizer = task.tokenized.tokenizer()
    said = next(tokenizer.encode(["the naïve model learns"])).tolist()
    end = task.tokenized.end_of_text
    model = Reciting([*said, end, *said], task.tokenized.vocabulary)
    rows = written(task, model, tmp_path / "first")
    assert model.calls == 32, "a sharded model must be called equally often everywhere"
    assert 1 <= len(rows) <= 8
    texts = [" ".join(file.read_text("utf-8").split()) for file in library.iterdir()]
    for row in rows:
        beginning, rest = row["beginning"], row["how the text goes on"]
        assert any(text.startswith(beginning) and rest in text for text in texts)
        assert row["what the model writes"] == "the naïve model learns"
        assert len(f"{beginning} {rest}".split()) <= 48
    assert rows == written(task, Reciting([*said, end, *said], 320), tmp_path / "second")


def test_tokens_are_the_likeliest_after_all_before(make_task: MakeTask) -> None:
    task = make_task()
    torch.manual_seed(0)
    model: Any = task.build_model().eval()
    prompts = torch.tensor([[5, 9], [7, 3]])
    for row, tokens in zip(continued(model, prompts, 4), prompts, strict=True):
        for token in row:
            assert token == model.table.weight[tokens[-1]].argmax()
            tokens = torch.cat([tokens, token[None]])


def test_texts_that_are_too_short_leave_nothing(make_task: MakeTask, tmp_path: Path) -> None:
    task = make_task(sequence_length=1)
    assert written(task, task.build_model(), tmp_path / "none") == []
