"""The task as a whole: losses and scores against single sequences, truncation, batches, learning, errors.

Reached from here: ``tasks/answering/encoded.py``.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from graftwork import GraftworkError, Task
from graftwork_text.tasks.answering.marking import best_f1
from graftwork_text.tasks.answering.prompt_answering import PromptAnswering, question_in
from graftwork_text.tasks.fine_tuning.selection import Parts

TaskOf = Callable[..., PromptAnswering]
Split = Any


def by_heart(task: PromptAnswering) -> PromptAnswering:
    """The task judged on what it learns from, which its data would keep apart."""
    every = tuple(task.parts.all())
    task.parts = Parts(every, every, every)
    return task


def batches(task: PromptAnswering, split: Split, **where: int) -> Any:
    return task.batches(split, **{"rank": 0, "world_size": 1, "seed": 0} | where)


def log_probabilities(task: PromptAnswering, model: Any, prompt: str, answer: str) -> Tensor:
    """Of an answer's tokens after a prompt, one sequence without padding."""
    ids = task.tokenizer(prompt + answer, return_tensors="pt").input_ids
    count = ids.shape[1] - len(task.tokenizer(prompt).input_ids)
    with torch.no_grad():
        predicted = torch.log_softmax(model(ids).logits[0, :-1], -1)
    return predicted.gather(1, ids[0, 1:, None])[-count:, 0]


def prompt(texts: tuple[str, ...]) -> str:
    return f"{texts[0]}\nQuestion: {texts[1]}\nAnswer:"


def numbered(task: PromptAnswering) -> list[Any]:
    return list(task.parts.all())


@pytest.mark.parametrize(("form", "end"), [("free", "\n"), ("choice", "")])
def test_the_training_loss_is_the_mean_of_the_examples_means_over_answer_tokens(
    task_of: TaskOf, form: str, end: str
) -> None:
    task = task_of(form, batch_size=6)
    model = task.build_model().eval()
    batch = next(iter(batches(task, "train")))
    expected = []
    for number in batch["sample"].tolist():
        question = task.parts.train[number]
        found = log_probabilities(task, model, prompt(question.texts), f" {question.answers[0]}{end}")
        expected.append(-found.mean())
    loss, _ = task.loss(model, batch)
    assert loss.item() == pytest.approx(torch.stack(expected).mean().item(), abs=1e-5)
    assert len({len(question.answers[0].split()) for question in task.parts.train}) > 1


@pytest.mark.parametrize("calibrate", [False, True])
def test_scores_of_options_are_mean_log_probabilities_and_calibrated_ones_differences_of_sums(
    task_of: TaskOf, calibrate: bool
) -> None:
    task = task_of("choice", calibrate=calibrate)
    model = task.build_model().eval()
    widths = set()
    for batch in batches(task, "validation"):
        with torch.no_grad():
            scores = task.scores(model, batch)
        for row, number in zip(scores, batch["sample"].tolist(), strict=True):
            question = task.parts.validation[number]
            widths.add(len(question.options))
            assert row[len(question.options) :].tolist() == [-torch.inf] * (len(row) - len(question.options))
            for score, option in zip(row, question.options, strict=False):
                found = log_probabilities(task, model, prompt(question.texts), f" {option}")
                expected = found.mean()
                if calibrate:
                    bare = "Question: \nAnswer:"
                    expected = found.sum() - log_probabilities(task, model, bare, f" {option}").sum()
                assert score.item() == pytest.approx(expected.item(), abs=2e-5)
    assert len(widths) > 1


def test_the_company_in_a_batch_does_not_change_scores_or_answers(task_of: TaskOf) -> None:
    choices, free = task_of("choice"), task_of("free")
    model = choices.build_model().eval().double()
    for task, measure in ((choices, choices.scores), (free, free.answers)):
        encoded = task.encode("validation")
        together: Any = measure(model, encoded.batch(np.arange(6)))
        for row in range(6):
            alone: Any = measure(model, encoded.batch(np.array([row])))[0]
            if isinstance(alone, str):
                assert alone == together[row]
            else:
                torch.testing.assert_close(
                    together[row][: len(alone)], alone, rtol=0, atol=1e-6, check_dtype=False
                )


def test_padding_is_on_the_left(task_of: TaskOf) -> None:
    batch = next(iter(batches(task_of("free", evaluation_batch_size=8), "validation")))
    for mask in (batch["attention_mask"], batch["prompt_mask"]):
        assert torch.equal(mask, mask.sort(1).values)
        assert mask.sum(1).unique().numel() > 1
    # The answer's tokens are the last.
    assert torch.equal(batch["option_mask"], batch["option_mask"].sort(1).values)


def test_long_prompts_keep_what_begins_a_sequence_and_the_whole_answer(
    task_of: TaskOf, questions: Callable[..., str]
) -> None:
    contexts = [f"a {thing} and " * 60 for thing in ("house", "tree", "door")]
    long = [{"context": context, "question": "What colour?"} for context in contexts]
    free = questions([{**row, "answers": ["dark green"]} for row in long], "long.jsonl")
    choice = questions(
        [{**row, "options": ["red", "dark green"], "answer": 1} for row in long], "choice.jsonl"
    )
    for data in (free, choice):
        task = by_heart(task_of("free", data=data, max_length=32))
        answer = " dark green\n" if data == free else " dark green"
        for split in ("train", "validation"):
            batch = task.encode(split).batch(np.array([0]))  # type: ignore[arg-type]
            assert batch["input_ids"].shape[1] == 32
            ids, mask = batch["input_ids"][-1], batch["option_mask"][-1]
            assert ids[0] == task.tokenizer.bos_token_id
            assert (ids == task.tokenizer.bos_token_id).sum() == 1
            assert task.tokenizer.decode(ids[-int(mask.sum()) :]) == answer
            assert task.tokenizer.decode(ids).endswith("Answer:" + answer)
        if data == free:
            # With the tokens to come it is as long as a sequence may be.
            assert batch["prompt_ids"].shape == (1, 32 - 12)
            assert batch["prompt_ids"][0, 0] == task.tokenizer.bos_token_id
            assert task.tokenizer.decode(batch["prompt_ids"][0]).endswith("Answer:")


def test_an_answer_without_a_token_of_its_own_is_an_error(
    task_of: TaskOf, questions: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "merged.toml"
    path.write_text('[answering]\ntemplate = "{context} colou{answer}"')
    rows = [{"context": f"{number}", "options": ["r", "x"], "answer": 0} for number in range(9)]
    task = task_of("free", prompts=str(path), data=questions(rows, "merged.jsonl"))
    merged = task.encoder.encode(["1 colour"])[0]
    assert len(merged) <= len(task.encoder.encode(["1 colou"])[0])
    with pytest.raises(GraftworkError, match=r"merges the answer 'r' .* before \{answer\}"):
        task.encode("train")


def test_keeps_the_contract_and_facts_are_plain(task_of: TaskOf) -> None:
    for form in ("free", "choice"):
        task = task_of(form, validation_examples=7)
        assert isinstance(task, Task)
        assert task.count(next(iter(batches(task, "train")))) == 4
        assert sum(task.count(batch) for batch in batches(task, "validation")) == 7
        facts = task.facts()
        json.dumps(facts)
        assert (facts["answers"], facts["validation_examples"]) == (form, 7)
        other = task_of(form, validation_examples=7, data_seed=1).facts()
        assert facts["examples_sha256"] != other["examples_sha256"]


@pytest.mark.parametrize("form", ["free", "choice"])
@pytest.mark.parametrize("objective", ["cross-entropy", "accuracy"])
def test_batches_depend_on_seed_and_rank_alone_and_skip_resumes(
    task_of: TaskOf, form: str, objective: str
) -> None:
    def drawn(skip: int, count: int, seed: int = 3) -> list[dict[str, Tensor]]:
        stream = batches(task_of(form, objective=objective), "train", rank=1, world_size=2, seed=seed)
        stream.skip(skip)
        return list(itertools.islice(stream, count))

    def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
        return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)

    assert all(same(*pair) for pair in zip(drawn(0, 30)[20:], drawn(20, 10), strict=True))
    assert not all(same(*pair) for pair in zip(drawn(0, 3), drawn(0, 3, seed=4), strict=True))


@pytest.mark.parametrize("form", ["free", "choice"])
def test_evaluation_does_not_depend_on_its_batches_and_restores_the_mode(task_of: TaskOf, form: str) -> None:
    task = task_of(form)
    model = task.build_model().train()
    whole = task.evaluate(model)
    assert model.training
    assert whole.keys() == {"loss", *(["accuracy"] if form == "choice" else ["exact_match", "f1"])}
    small = task_of(form, evaluation_batch_size=3).evaluate(model)
    assert small == pytest.approx(whole, rel=1e-4)
    assert task.test_metrics(model)["loss"] != whole["loss"]
    losses = [task.loss(model, batch)[0].item() * task.count(batch) for batch in batches(task, "validation")]
    assert sum(losses) / len(task.parts.validation) == pytest.approx(whole["loss"], rel=1e-4)


def test_accuracy_is_the_share_of_right_options(task_of: TaskOf) -> None:
    task = task_of("choice", validation_examples=20)
    model = task.build_model().eval()
    hits = []
    for question in task.parts.validation:
        scores = [
            log_probabilities(task, model, prompt(question.texts), f" {option}").mean().item()
            for option in question.options
        ]
        hits.append(question.options[int(np.argmax(scores))] == question.answers[0])
    assert task.evaluate(model)["accuracy"] == pytest.approx(np.mean(hits))
    assert 0 < np.mean(hits) < 1


def train(task: PromptAnswering, steps: int) -> torch.nn.Module:
    model = task.build_model().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    for batch in itertools.islice(batches(task, "train"), steps):
        optimizer.zero_grad()
        task.loss(model, batch)[0].backward()
        optimizer.step()
    return model


def test_a_few_answers_are_learnt_by_heart(task_of: TaskOf, questions: Callable[..., str]) -> None:
    from json import loads

    data = task_of("free").corpus.name
    few = questions([loads(line) for line in Path(data).read_text().splitlines()[:6]], "few.jsonl")
    task = by_heart(task_of("free", data=few, batch_size=6))
    before = task.evaluate(task.build_model())
    assert before["exact_match"] == 0.0
    after = task.evaluate(train(task, 60))
    assert (after["exact_match"], after["f1"]) == (1.0, 1.0)
    assert after["loss"] < before["loss"] / 10


def test_the_right_options_are_learnt(task_of: TaskOf, questions: Callable[..., str]) -> None:
    rows = [json.loads(line) for line in Path(task_of("choice").corpus.name).read_text().splitlines()[:8]]
    few = questions(rows, "few.jsonl")
    task = by_heart(task_of("choice", data=few, batch_size=8))
    assert task.evaluate(task.build_model())["accuracy"] < 1.0
    assert task.evaluate(train(task, 80))["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("form", "objective", "metric"),
    [("free", "f1", "f1"), ("free", "accuracy", "exact_match"), ("choice", "accuracy", "accuracy")],
)
def test_objectives_without_gradient(task_of: TaskOf, form: str, objective: str, metric: str) -> None:
    task = task_of(form, objective=objective)
    model = task.build_model().eval()
    batch = next(iter(batches(task, "train")))
    with torch.no_grad():
        loss, measured = task.loss(model, batch)
    assert loss.item() == -measured[metric].item()
    with pytest.raises(GraftworkError, match=f"task.objective = '{objective}' has no gradient"):
        task.loss(model, batch)
    found = task.evaluate(model)
    assert found["loss"] == -found[metric]
    assert found["cross_entropy"] == pytest.approx(task_of(form).evaluate(model)["loss"])


def test_f1_is_of_the_answers_with_the_right_ones(task_of: TaskOf, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of("free", objective="f1")
    batch = next(iter(batches(task, "train")))
    given = ["red", "It is blue", "green", ""]
    monkeypatch.setattr(PromptAnswering, "answers", lambda *_: given)
    with torch.no_grad():
        loss, _ = task.loss(torch.nn.Linear(1, 1), batch)
    right = [numbered(task)[number].answers for number in batch["questions"].tolist()]
    expected = [best_f1(answer, gold) for answer, gold in zip(given, right, strict=True)]
    assert loss.item() == pytest.approx(-np.mean(expected))


def test_half_precision_weights_give_single_precision_losses(task_of: TaskOf) -> None:
    for form in ("free", "choice"):
        task = task_of(form, dtype="bfloat16")
        model = task.build_model()
        assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
        assert task.loss(model, next(iter(batches(task, "train"))))[0].dtype == torch.float32
        single = task_of(form)
        assert task.evaluate(model)["loss"] == pytest.approx(
            single.evaluate(single.build_model())["loss"], rel=0.05
        )


def test_what_is_trained_can_be_chosen(task_of: TaskOf) -> None:
    model = task_of("free", train_only=["*layers.1.mlp*"]).build_model()
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained
    assert all("layers.1.mlp" in name for name in trained)


@pytest.mark.parametrize(
    ("form", "options", "error", "message"),
    [
        ("free", {"max_new_tokens": 0}, GraftworkError, "max_new_tokens must be at least 1, got 0"),
        ("free", {"batch_size": 0}, GraftworkError, "batch_size must be at least 1, got 0"),
        ("free", {"prompts": "readin"}, GraftworkError, "did you mean 'reading'"),
        ("free", {"calibrate": True}, GraftworkError, "task.calibrate must be false"),
        ("choice", {"objective": "f1"}, GraftworkError, "'f1' is for free answers, .* 'accuracy'"),
        (
            "free",
            {"max_length": 12},
            GraftworkError,
            "max_length = 12 leaves no room for a prompt before max_new",
        ),
    ],
)
def test_options_that_cannot_be(
    task_of: TaskOf, form: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        task_of(form, **options).encode("validation")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('template = "{context} {answer}, {question}"', "must hold {answer} once, at its end"),
        ('template = "{context} {label}"', "must hold {answer} once, at its end"),
        ('template = "Answer: {answer}"', "holds no text of the data"),
        ('template = "{} {answer}"', "braces must hold the name of a field"),
        ('template = "{context {answer}"', "template '.*': "),
        ('place = "x"', r"unknown key 'place' in \[answering\]"),
    ],
)
def test_prompts_that_do_not_fit(task_of: TaskOf, tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "prompts.toml"
    path.write_text(f"[answering]\n{content}\n")
    with pytest.raises(GraftworkError, match=message):
        task_of("free", prompts=str(path))


def test_a_line_s_end_before_the_answer_belongs_to_the_prompt(task_of: TaskOf, tmp_path: Path) -> None:
    path = tmp_path / "prompts.toml"
    path.write_text('template = "{context}\\n{answer}"\n')
    task = task_of("free", prompts=str(path))
    batch = task.encode("validation").batch(np.array([0]))
    assert task.tokenizer.decode(batch["prompt_ids"][0]).endswith("\n")


def test_a_masked_language_model_is_refused(task_of: TaskOf, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "masked"
    shutil.copytree(folder, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "architectures": ["LlamaForMaskedLM"]}))
    with pytest.raises(GraftworkError, match="is a masked language model"):
        task_of("free", model=str(other)).build_model()


def test_options_of_an_input_are_texts_or_numbers() -> None:
    assert question_in({"q": "a", "options": ["x", 2, 0.5]}, ["q"]).options == ("x", "2", "0.5")
    assert question_in({"q": "a", "options": None}, ["q"]).options == ()
    for options in (5, "xy", {"x": 1}, ["x", None], [["x"]]):
        with pytest.raises(GraftworkError, match="field 'options' must be a list of texts, got "):
            question_in({"q": "a", "options": options}, ["q"])
