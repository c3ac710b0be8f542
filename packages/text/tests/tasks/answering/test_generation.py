"""Greedy generation against one whole pass a token, and where it ends.

Reached from here: ``tasks/fine_tuning/continuation.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graftwork import GraftworkError
from graftwork_text.tasks.answering.generation import answers_of, generate, line_ends
from graftwork_text.tasks.answering.prompt_answering import PromptAnswering
from graftwork_text.tasks.fine_tuning.encoding import padded

TaskOf = Callable[..., PromptAnswering]


def prompts_of(task: PromptAnswering, texts: list[str]) -> dict[str, Tensor]:
    tokens = [[*task.encoder.prefix, *ids] for ids in task.encoder.encode(texts)]
    return padded(tokens, padding=task.encoder.padding, side="left", max_length=128)


class Reciting(nn.Module):
    """Gives a text, token by token, whatever it is asked."""

    def __init__(self, tokens: list[int], vocabulary: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.tokens, self.vocabulary, self.calls = tokens, vocabulary, 0

    def forward(self, input_ids: Tensor, past_key_values: Any = None, **_: Any) -> Any:
        logits = torch.zeros(*input_ids.shape, self.vocabulary)
        logits[:, :, self.tokens[self.calls % len(self.tokens)]] = 1
        self.calls += 1
        return SimpleNamespace(logits=logits, past_key_values=None)


def recited(task: PromptAnswering, text: str, count: int) -> tuple[str, int]:
    ends = line_ends(task.tokenizer)
    model = Reciting(task.encoder.encode([text])[0], len(task.tokenizer))
    generated = generate(model, prompts_of(task, ["a", "a b c"]), count=count, ends=ends)
    one, other = answers_of(task.tokenizer, generated, ends)
    assert one == other
    return one, model.calls


def test_tokens_are_the_likeliest_after_the_whole_row(task_of: TaskOf) -> None:
    task = task_of("free")
    model = task.build_model().eval()
    texts = ["a door", "What colour is the car?\nAnswer:", "red"]
    none = torch.tensor([], dtype=torch.int64)
    generated = generate(model, prompts_of(task, texts), count=20, ends=none)
    for text, row in zip(texts, generated, strict=True):
        ids = task.tokenizer(text, return_tensors="pt").input_ids
        for token in row:
            with torch.no_grad():
                assert model(ids).logits[0, -1].argmax() == token
            ids = torch.cat([ids, token.view(1, 1)], 1)


def test_generation_stops_at_the_line_s_end(task_of: TaskOf) -> None:
    task = task_of("free")
    length = len(task.encoder.encode([" dark green\n"])[0])
    assert recited(task, " dark green\n red", 50) == ("dark green", length)


def test_generation_stops_at_the_text_s_end(task_of: TaskOf) -> None:
    task = task_of("free")
    ends = line_ends(task.tokenizer)
    red = task.encoder.encode([" red"])[0]
    model = Reciting([*red, task.tokenizer.eos_token_id, *red], len(task.tokenizer))
    generated = generate(model, prompts_of(task, ["a"]), count=50, ends=ends)
    assert answers_of(task.tokenizer, generated, ends) == ["red"]
    assert model.calls == len(red) + 1


def test_generation_stops_after_50_tokens(task_of: TaskOf) -> None:
    task = task_of("free", max_new_tokens=50)
    assert recited(task, " red", 50)[1] == 50
    model = Reciting(task.encoder.encode(["x"])[0], len(task.tokenizer))
    batch = next(iter(task.batches("validation", rank=0, world_size=1, seed=0)))
    assert task.answers(model, batch)[0] == "x" * 50
    assert model.calls == 50


def test_rows_end_each_for_itself(task_of: TaskOf) -> None:
    task = task_of("free")
    ends = line_ends(task.tokenizer)
    encode = task.encoder.encode
    rows = [encode([" red\n"])[0], encode([" blue house and car"])[0]]
    width = max(map(len, rows))
    filled = torch.tensor([row + encode([" cat"])[0][:1] * (width - len(row)) for row in rows])
    assert answers_of(task.tokenizer, filled, ends)[0] == "red"
    assert answers_of(task.tokenizer, filled, ends)[1].startswith("blue house and car")


def test_tokens_with_a_line_s_end_inside_are_ends(task_of: TaskOf) -> None:
    task = task_of("free")
    vocabulary = [task.tokenizer.decode([number]) for number in range(len(task.tokenizer))]
    expected = {number for number, text in enumerate(vocabulary) if "\n" in text or text == "</s>"}
    assert set(line_ends(task.tokenizer).tolist()) == expected
    assert len(expected) >= 2


def test_a_batch_that_was_doubled_on_the_way_is_refused(task_of: TaskOf) -> None:
    task = task_of("free")
    model = task.build_model().eval()
    forward = model.forward

    def doubled(**arguments: Any) -> Any:
        twice = {
            name: torch.cat([value, value]) if isinstance(value, Tensor) else value
            for name, value in arguments.items()
        }
        output = forward(**twice)
        output.logits = output.logits[: len(arguments["input_ids"])]
        return output

    model.forward = doubled
    with pytest.raises(GraftworkError, match=r"a batch of 2 was evaluated as one of 4: .*'sidepath'"):
        generate(model, prompts_of(task, ["a", "b"]), count=3, ends=torch.tensor([], dtype=torch.int64))
