"""The task as a whole: contract, batches, evaluation, choice of scoring, facts, errors."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from graftwork import GraftworkError, Task, choose
from graftwork_text.tasks.classification.prompt_classification import PromptClassification

Options = Callable[..., dict[str, Any]]


def prompting(**options: Any) -> PromptClassification:
    """The task with options as a recipe gives them."""
    task: PromptClassification = choose("task", "prompt-classification", options)()
    return task


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(params=["sentence", "masked", "causal"])
def task_of(request: pytest.FixtureRequest, small: Options) -> Callable[..., PromptClassification]:
    """The task on each kind of model."""
    folder: Path = request.getfixturevalue(f"{request.param}_folder")
    return lambda **options: prompting(**small(folder, **options))


def test_keeps_the_contract_and_batches_are_tensors(task_of: Callable[..., PromptClassification]) -> None:
    task = task_of()
    assert isinstance(task, Task)
    batch = next(iter(task.batches("train", rank=0, world_size=1, seed=0)))
    assert all(isinstance(tensor, torch.Tensor) for tensor in batch.values())
    assert task.count(batch) == 4
    assert batch["input_ids"].shape[1] % 8 == 0
    assert {batch["input_ids"].dtype, batch["labels"].dtype} == {torch.int64}


def test_batches_depend_on_seed_and_rank_alone_and_skip_resumes(
    task_of: Callable[..., PromptClassification],
) -> None:
    whole: Any = task_of().batches("train", rank=1, world_size=2, seed=3)
    resumed: Any = task_of().batches("train", rank=1, world_size=2, seed=3)
    expected = list(itertools.islice(whole, 40))
    resumed.skip(30)
    assert all(same(*pair) for pair in zip(expected[30:], itertools.islice(resumed, 10), strict=True))
    other: Any = task_of().batches("train", rank=1, world_size=2, seed=4)
    assert not all(same(*pair) for pair in zip(expected[:3], itertools.islice(other, 3), strict=True))


def test_ranks_share_an_epoch(task_of: Callable[..., PromptClassification]) -> None:
    task = task_of(train_examples=32)
    texts = set()
    for rank in range(2):
        stream = task.batches("train", rank=rank, world_size=2, seed=0)
        for batch in itertools.islice(stream, 4):
            kept = [
                row[mask.bool()].tolist()
                for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
            ]
            texts |= {tuple(row) for row in kept[:4]}
    # Every example once in an epoch of 32.
    assert len(texts) == 32


def test_evaluation_does_not_depend_on_its_batches_and_restores_the_mode(
    task_of: Callable[..., PromptClassification],
) -> None:
    task = task_of()
    model = task.build_model().train()
    whole = task.evaluate(model)
    assert model.training
    small = task_of(evaluation_batch_size=3).evaluate(model)
    assert whole.keys() == {"loss", "accuracy", "macro_f1"}
    for name in whole:
        assert small[name] == pytest.approx(whole[name], rel=1e-4)
    test = task.test_metrics(model)
    assert test.keys() == whole.keys()
    assert test["loss"] != whole["loss"]


def test_loss_and_evaluation_agree(task_of: Callable[..., PromptClassification]) -> None:
    task = task_of(batch_size=96)
    model = task.build_model().eval()
    losses = []
    count = 0
    for batch in task.batches("validation", rank=0, world_size=1, seed=0):
        loss, metrics = task.loss(model, batch)
        losses.append(float(loss.detach()) * task.count(batch))
        count += task.count(batch)
        assert 0 <= float(metrics["accuracy"]) <= 1
    assert sum(losses) / count == pytest.approx(task.evaluate(model)["loss"], rel=1e-4)


def test_training_learns_to_tell_good_from_bad(task_of: Callable[..., PromptClassification]) -> None:
    torch.manual_seed(0)
    task = task_of(batch_size=16)
    model = task.build_model()
    before = task.evaluate(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for batch in itertools.islice(task.batches("train", rank=0, world_size=1, seed=0), 60):
        optimizer.zero_grad()
        task.loss(model, batch)[0].backward()
        optimizer.step()
    after = task.evaluate(model)
    assert after["accuracy"] > 0.9
    assert after["loss"] < before["loss"]


@pytest.mark.parametrize("objective", ["accuracy", "f1"])
def test_objectives_without_gradient(task_of: Callable[..., PromptClassification], objective: str) -> None:
    task = task_of(objective=objective)
    model = task.build_model()
    batch = next(iter(task.batches("train", rank=0, world_size=1, seed=0)))
    with torch.no_grad():
        loss, _ = task.loss(model, batch)
    assert -1 <= float(loss) <= 0
    with pytest.raises(GraftworkError, match="has no gradient"):
        task.loss(model, batch)
    measured = task.evaluate(model)
    assert measured["loss"] == -measured["accuracy" if objective == "accuracy" else "macro_f1"]
    assert measured["cross_entropy"] == pytest.approx(task_of().evaluate(model)["loss"])


def test_half_precision_weights_give_single_precision_losses(
    task_of: Callable[..., PromptClassification],
) -> None:
    task = task_of(dtype="bfloat16")
    model = task.build_model()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    loss, _ = task.loss(model, next(iter(task.batches("train", rank=0, world_size=1, seed=0))))
    assert loss.dtype == torch.float32
    single = task_of().build_model().eval()
    assert task.evaluate(model)["loss"] == pytest.approx(task_of().evaluate(single)["loss"], rel=0.05)


def test_the_meta_device_builds_the_same_shape(task_of: Callable[..., PromptClassification]) -> None:
    task = task_of()
    with torch.device("meta"):
        shape = {name: p.shape for name, p in task.build_model().named_parameters()}
    assert shape == {name: p.shape for name, p in task.build_model().named_parameters()}


def test_facts_are_plain_and_name_what_determines_a_result(
    task_of: Callable[..., PromptClassification],
) -> None:
    facts = task_of(shots_per_class=3).facts()
    json.dumps(facts)
    assert (facts["train_examples"], facts["validation_examples"], facts["labels"]) == (
        6,
        6,
        "negative, positive",
    )
    assert facts["examples_sha256"] != task_of(shots_per_class=3, data_seed=1).facts()["examples_sha256"]
    assert {"corpus_train_sha256", "model", "scoring", "prompts_sha256"} <= facts.keys()


def test_auto_scoring_needs_to_know_what_the_model_was_trained_for(
    sentence_folder: Path, small: Options, tmp_path: Path
) -> None:
    import shutil

    bare = tmp_path / "bare"
    shutil.copytree(sentence_folder, bare)
    (bare / "modules.json").unlink()
    task = prompting(**small(bare))
    with pytest.raises(GraftworkError, match=r"'auto' cannot tell .*its architectures are BertModel"):
        task.build_model()
    assert prompting(**small(bare, scoring="similarity")).build_model() is not None


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"calibrate": True, "scoring": "similarity"}, GraftworkError, "calibrate must be false"),
        ({"batch_size": 0}, GraftworkError, "batch_size must be at least 1, got 0"),
        ({"max_length": 4}, GraftworkError, "max_length must be at least 8, got 4"),
        ({"data_seed": -1}, GraftworkError, "data_seed must be at least 0, got -1"),
        ({"data": "rotten-tomatos"}, GraftworkError, "did you mean 'rotten-tomatoes'"),
        ({"prompts": "sentimen-was"}, GraftworkError, "did you mean 'sentiment-was'"),
    ],
)
def test_options_that_cannot_be(
    sentence_folder: Path, small: Options, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        prompting(**small(sentence_folder, **options))


def test_calibration_of_another_scoring_found_out_later(sentence_folder: Path, small: Options) -> None:
    task = prompting(**small(sentence_folder, calibrate=True))
    with pytest.raises(
        GraftworkError, match=r"task.calibrate must be false: .* this model's is 'similarity'"
    ):
        task.build_model()


def test_there_are_three_splits(sentence_folder: Path, small: Options) -> None:
    split: Any = "dev"
    with pytest.raises(ValueError, match="split must be 'train', 'validation' or 'test', got 'dev'"):
        prompting(**small(sentence_folder)).batches(split, rank=0, world_size=1, seed=0)
