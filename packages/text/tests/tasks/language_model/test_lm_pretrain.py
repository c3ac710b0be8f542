"""The task as a whole: batches, loss, evaluation, facts, errors."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from graftwork import GraftworkError, Task
from graftwork_text.models.llama import llama_tiny
from graftwork_text.tasks.language_model.lm_pretrain import LanguageModelPretraining

MakeTask = Callable[..., LanguageModelPretraining]


class Constant(nn.Module):
    """The same logits whatever comes in."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(*tokens.shape, -1)


def test_keeps_the_contract(make_task: MakeTask) -> None:
    assert isinstance(make_task(), Task)
    assert LanguageModelPretraining.unit == "tokens"


def test_model_gets_the_vocabulary(make_task: MakeTask) -> None:
    model: Any = make_task().build_model()
    assert model.table.num_embeddings == 320


def test_batches(make_task: MakeTask) -> None:
    task = make_task()
    stream: Any = task.batches("train", rank=0, world_size=1, seed=0)
    batch = next(stream)
    assert {name: tuple(tensor.shape) for name, tensor in batch.items()} == {
        "input_ids": (4, 16),
        "targets": (4, 16),
    }
    assert task.count(batch) == 64
    assert torch.equal(batch["input_ids"][:, 1:], batch["targets"][:, :-1])


def test_skip_resumes_exactly(make_task: MakeTask) -> None:
    task = make_task()
    whole: Any = task.batches("train", rank=0, world_size=1, seed=1)
    resumed: Any = make_task().batches("train", rank=0, world_size=1, seed=1)
    expected = list(itertools.islice(whole, 200))[150:]
    resumed.skip(150)
    for batch, again in zip(expected, itertools.islice(resumed, 50), strict=True):
        assert torch.equal(batch["input_ids"], again["input_ids"])


def test_validation_is_one_ordered_pass_of_the_held_out_tokens(make_task: MakeTask) -> None:
    task = make_task()
    passes = [list(task.batches("validation", rank=0, world_size=1, seed=seed)) for seed in (0, 1)]
    predicted = torch.cat([batch["targets"].flatten() for batch in passes[0]]).numpy()
    held_out = task.tokenized.validation
    np.testing.assert_array_equal(predicted, held_out[1 : len(predicted) + 1])
    assert len(held_out) - len(predicted) <= 16
    assert all(torch.equal(a["targets"], b["targets"]) for a, b in zip(*passes, strict=True))


def test_nothing_held_out_is_in_the_training_batches(make_task: MakeTask, library: Path) -> None:
    task = make_task()
    tokenizer = task.tokenized.tokenizer()
    texts = [
        tokenizer.decode(tokens.tolist()) for tokens in (task.tokenized.train, task.tokenized.validation)
    ]
    for file in library.iterdir():
        for paragraph in file.read_text("utf-8").split("\n\n"):
            assert sum(paragraph in text for text in texts) == 1


def test_loss_is_the_mean_cross_entropy_in_nats(make_task: MakeTask) -> None:
    task = make_task()
    batch = next(iter(task.batches("train", rank=0, world_size=1, seed=0)))
    torch.manual_seed(0)
    logits = torch.randn(320)
    loss, metrics = task.loss(Constant(logits), batch)
    by_hand = np.mean([-torch.log_softmax(logits.double(), 0)[token] for token in batch["targets"].flatten()])
    assert loss.item() == pytest.approx(by_hand, rel=1e-6)
    assert loss.requires_grad
    assert metrics == {}


def test_loss_of_half_precision_logits_is_computed_in_single(make_task: MakeTask) -> None:
    task = make_task()
    batch = next(iter(task.batches("train", rank=0, world_size=1, seed=0)))
    loss, _ = task.loss(Constant(torch.zeros(320, dtype=torch.bfloat16)), batch)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log(320), rel=1e-6)


def test_evaluation_by_independent_arithmetic(make_task: MakeTask) -> None:
    task = make_task(evaluation_tokens=1000)
    torch.manual_seed(0)
    logits = torch.randn(320)
    measured = task.evaluate(Constant(logits))

    tokens = task.tokenized.validation.astype(np.int64)
    predicted = tokens[1 : 1 + 1000 // 16 * 16]
    nats = -torch.log_softmax(logits.double(), 0).numpy()[predicted]
    text = task.tokenized.tokenizer().decode(predicted.tolist())
    assert measured["loss"] == pytest.approx(nats.mean(), rel=1e-6)
    assert measured["perplexity"] == pytest.approx(math.exp(nats.mean()), rel=1e-5)
    bits_per_byte = nats.sum() / math.log(2) / len(text.encode())
    # The window may end inside a character of several bytes, which then counts in part.
    assert measured["bits_per_byte"] == pytest.approx(bits_per_byte, rel=2e-3)


def test_evaluation_weighs_tokens_not_batches(make_task: MakeTask) -> None:
    torch.manual_seed(0)
    model = Constant(torch.randn(320))
    losses = [make_task(batch_size=size).evaluate(model)["loss"] for size in (1, 3, 7, 64)]
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_leaves_the_model_as_it_was(make_task: MakeTask, training: bool) -> None:
    task = make_task()
    model = task.build_model().train(training)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    first, second = task.evaluate(model), task.evaluate(model)
    assert first == second, "dropout was on"
    assert model.training is training
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())


def test_evaluation_restores_the_mode_after_a_failure(make_task: MakeTask) -> None:
    class Failing(Constant):
        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("out of memory")

    model = Failing(torch.zeros(320))
    with pytest.raises(RuntimeError, match="out of memory"):
        make_task().evaluate(model)
    assert model.training


def test_a_hopeless_model_has_infinite_perplexity(make_task: MakeTask) -> None:
    logits = torch.zeros(320)
    logits[5] = 1e5
    assert make_task().evaluate(Constant(logits))["perplexity"] == math.inf


def test_training_a_llama_learns(make_task: MakeTask) -> None:
    task = make_task(
        model=lambda vocab_size: llama_tiny(
            vocab_size, hidden_size=32, layers=1, heads=2, intermediate_size=64
        )
    )
    torch.manual_seed(0)
    model = task.build_model()
    before = task.evaluate(model)
    assert before["loss"] == pytest.approx(math.log(320), abs=0.1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for batch in itertools.islice(task.batches("train", rank=0, world_size=1, seed=0), 60):
        loss, _ = task.loss(model, batch)
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
    after = task.evaluate(model)
    assert after["perplexity"] < before["perplexity"] / 4
    assert after["bits_per_byte"] < before["bits_per_byte"]


def test_facts_are_plain_data(make_task: MakeTask, library: Path) -> None:
    task = make_task()
    facts = task.facts()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["corpus"] == str(library)
    assert facts["train_documents"] + facts["validation_documents"] == 60  # type: ignore[operator]
    assert facts["train_tokens"] == len(task.tokenized.train)
    assert facts["vocabulary"] == 320
    assert len(str(facts["train_tokens_sha256"])) == 64


def test_facts_tell_changed_text_and_another_tokenizer(make_task: MakeTask, library: Path) -> None:
    before = make_task().facts()
    assert make_task(vocabulary_size=300).facts()["tokenizer_sha256"] != before["tokenizer_sha256"]
    changed = library / "text-07.txt"
    changed.write_text(changed.read_text("utf-8").replace("the", "the gradient", 1), "utf-8")
    after = make_task().facts()
    assert after["corpus_sha256"] != before["corpus_sha256"]
    parts = ("train_tokens_sha256", "validation_tokens_sha256")
    assert any(after[part] != before[part] for part in parts)


def test_users_tokenizer(make_task: MakeTask, tmp_path: Path) -> None:
    trained = make_task(vocabulary_size=300)
    file = tmp_path / "mine.json"
    trained.tokenized.tokenizer().save(file)
    task = make_task(tokenizer=str(file))
    assert task.facts()["vocabulary"] == 300
    assert task.facts()["tokenizer"] == str(file)
    np.testing.assert_array_equal(task.tokenized.train, trained.tokenized.train)


def test_constructing_reads_nothing(make_task: MakeTask, tmp_path: Path) -> None:
    make_task()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sequence_length": 0}, "sequence_length must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"vocabulary_size": 256}, "vocabulary_size must be at least 257"),
        ({"validation_fraction": 0.0}, "validation_fraction must lie between 0 and 1, got 0.0"),
        ({"validation_fraction": 1.0}, "validation_fraction must lie between 0 and 1, got 1.0"),
        ({"evaluation_tokens": 15}, "evaluation_tokens must be at least sequence_length = 16, got 15"),
    ],
)
def test_options_out_of_range(make_task: MakeTask, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_task(**options)


def test_unknown_data(make_task: MakeTask) -> None:
    with pytest.raises(GraftworkError, match="did you mean 'installed-prose'"):
        make_task(data="installed-prosa")


def test_unknown_split(make_task: MakeTask) -> None:
    split: Any = "test"
    with pytest.raises(ValueError, match="split must be 'train' or 'validation', got 'test'"):
        make_task().batches(split, rank=0, world_size=1, seed=0)


def test_missing_tokenizer(make_task: MakeTask) -> None:
    with pytest.raises(GraftworkError, match=r"tokenizer 'no/such\.json' does not exist"):
        make_task(tokenizer="no/such.json").build_model()


def test_a_text_shorter_than_a_sequence_is_one(
    make_task: MakeTask, capsys: pytest.CaptureFixture[str]
) -> None:
    task = make_task(sequence_length=50_000)
    train, held_out = len(task.tokenized.train) - 1, len(task.tokenized.validation) - 1
    batches: Any = task.batches("train", rank=0, world_size=1, seed=0)
    assert next(batches)["targets"].shape == (4, train)
    model = Constant(torch.zeros(task.tokenized.vocabulary))
    assert task.evaluate(model)["loss"] == pytest.approx(math.log(task.tokenized.vocabulary))
    told = capsys.readouterr().err
    assert f"one sequence of {train} (sequence_length = 50000)" in told
    assert f"{held_out + 1} held-out tokens: one sequence of {held_out} (" in told


@pytest.mark.parametrize("files", [1, 3])
def test_a_few_short_texts_are_enough(make_task: MakeTask, tmp_path: Path, files: int) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(files):
        (folder / f"{number}.txt").write_text(f"The miller sells lantern {number}. A clerk buys it.", "utf-8")
    task = make_task(data=str(folder), sequence_length=128)
    assert task.evaluate(task.build_model())["loss"] > 0
    assert next(iter(task.batches("train", rank=0, world_size=1, seed=0)))["targets"].shape[0] == 4


def test_what_a_test_text_has_is_not_trained_on_and_that_is_said(
    make_task: MakeTask, library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without = make_task()
    learnt = without.tokenized.tokenizer().decode(without.tokenized.train.tolist())
    texts = [file.read_text("utf-8") for file in sorted(library.iterdir())]
    copied = [text for text in texts if text in learnt][:7]
    paragraph = next(text for text in texts if text in learnt and text not in copied).split("\n\n")[0]
    tested = "\n\n".join(["Nothing else says this.", *map(str.upper, copied), f" {paragraph}\t"])
    (tmp_path / "test.txt").write_text(tested, "utf-8")
    task = make_task(test_data=str(tmp_path / "test.txt"))
    found = task.tokenized.tokenizer().decode(task.tokenized.train.tolist())
    assert not any(part in found for text in [*copied, paragraph] for part in text.split("\n\n"))
    assert task.facts()["held_out_copies_left_out"] == 2 * 7 + 1
    assert task.facts()["train_documents"] == int(without.facts()["train_documents"]) - 7
    assert "held_out_copies_left_out" not in without.facts()
    assert "15 training paragraphs stand among the held-out ones too" in capsys.readouterr().err
    batches = list(task.batches("test", rank=0, world_size=1, seed=0))
    predicted = torch.cat([batch["targets"].flatten() for batch in batches]).tolist()
    assert task.tokenized.tokenizer().decode(predicted)[:500] in tested[1:]
