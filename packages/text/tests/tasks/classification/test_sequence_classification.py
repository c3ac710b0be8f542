"""Classification by a fresh head: pooling, pairs, seeds, errors.

Reached from here: ``tasks/classification/pooled_classifier.py``, ``tasks/classification/task.py``.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from graftwork import GraftworkError, Task, choose
from graftwork_text.corpora import LabelledExample
from graftwork_text.tasks.classification.sequence_classification import HeadScoring, SequenceClassification
from graftwork_text.tasks.fine_tuning.encoding import TextEncoder

Options = Callable[..., dict[str, Any]]


def classifying(**options: Any) -> SequenceClassification:
    """The task with options as a recipe gives them."""
    task: SequenceClassification = choose("task", "sequence-classification", options)()
    return task


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Pairs of texts with three labels."""
    path = tmp_path / "pairs.tsv"
    lines = ["premise\thypothesis\tgold"]
    lines += [f"a great film {n}\tit is great {n}\t{('no', 'yes', 'maybe')[n % 3]}" for n in range(60)]
    path.write_text("\n".join(lines))
    return path


def test_keeps_the_contract_and_learns(sentence_folder: Path, small: Options) -> None:
    torch.manual_seed(0)
    task = classifying(**small(sentence_folder, batch_size=16))
    assert isinstance(task, Task)
    model = task.build_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for batch in itertools.islice(task.batches("train", rank=0, world_size=1, seed=0), 60):
        optimizer.zero_grad()
        task.loss(model, batch)[0].backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
    measured = task.evaluate(model)
    assert measured["accuracy"] > 0.9
    assert measured.keys() == {"loss", "accuracy", "macro_f1"}


def test_a_sentence_encoder_is_read_by_its_mean_and_others_by_transformers_own_head(
    sentence_folder: Path, masked_folder: Path, causal_folder: Path, small: Options
) -> None:
    kinds = [
        type(classifying(**small(folder)).build_model()).__name__
        for folder in (sentence_folder, masked_folder, causal_folder)
    ]
    assert kinds == [
        "MeanPooledClassifier",
        "BertForSequenceClassification",
        "LlamaForSequenceClassification",
    ]


def test_the_mean_head_is_a_linear_layer_on_the_mean_of_the_outputs(
    sentence_folder: Path, small: Options
) -> None:
    task = classifying(**small(sentence_folder))
    model: Any = task.build_model().eval()
    batch = next(iter(task.batches("train", rank=0, world_size=1, seed=0)))
    with torch.no_grad():
        scores = task.scoring.scores(model, batch)
        for row, ids, mask in zip(scores, batch["input_ids"], batch["attention_mask"], strict=True):
            alone = ids[mask.bool()][None]
            outputs = model.encoder(input_ids=alone).last_hidden_state[0]
            torch.testing.assert_close(row, model.classifier(outputs.mean(0)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["sentence", "masked", "causal"])
def test_scores_do_not_depend_on_padding(kind: str, request: pytest.FixtureRequest, small: Options) -> None:
    task = classifying(**small(request.getfixturevalue(f"{kind}_folder")))
    model = task.build_model().eval()
    encoded = task.scoring.encode(task.parts.train)
    longest = int(np.argmax(encoded.lengths))
    shortest = int(np.argmin(encoded.lengths))
    with torch.no_grad():
        alone = task.scoring.scores(model, encoded.batch(np.array([shortest])))
        beside = task.scoring.scores(model, encoded.batch(np.array([shortest, longest])))
    torch.testing.assert_close(alone[0], beside[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["sentence", "masked", "causal"])
def test_the_head_comes_from_the_global_generator(
    kind: str, request: pytest.FixtureRequest, small: Options
) -> None:
    task = classifying(**small(request.getfixturevalue(f"{kind}_folder")))
    heads = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        state = task.build_model().state_dict()
        heads.append(state["score.weight" if kind == "causal" else "classifier.weight"])
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_pairs_are_put_together_as_the_tokenizer_does(
    masked_folder: Path, pairs: Path, small: Options
) -> None:
    columns = {"text_columns": ["premise", "hypothesis"], "label_column": "gold"}
    task = classifying(**small(masked_folder, data=str(pairs), **columns))
    model: Any = task.build_model()
    assert model.config.id2label == {0: "maybe", 1: "no", 2: "yes"}
    batch = next(iter(task.batches("train", rank=0, world_size=1, seed=0)))
    tokenizer = AutoTokenizer.from_pretrained(masked_folder)
    sep = tokenizer.sep_token_id
    assert ((batch["input_ids"] == sep).sum(1) == 2).all()
    if "token_type_ids" in batch:
        assert batch["token_type_ids"].shape == batch["input_ids"].shape
        assert batch["token_type_ids"].max() == 1
    assert task.loss(model, batch)[0].requires_grad


def test_three_texts_are_too_many(masked_folder: Path, pairs: Path, small: Options) -> None:
    columns = ["premise", "hypothesis", "gold"]
    with pytest.raises(GraftworkError, match="text_columns must be one or two"):
        classifying(**small(masked_folder, data=str(pairs), text_columns=columns))


@pytest.mark.parametrize("kind", ["sentence", "masked"])
def test_an_incomplete_folder_is_not_filled_up_at_random(
    kind: str, request: pytest.FixtureRequest, small: Options, tmp_path: Path
) -> None:
    import shutil

    folder = tmp_path / "incomplete"
    shutil.copytree(request.getfixturevalue(f"{kind}_folder"), folder)
    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "layer.1." not in name}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(GraftworkError, match=r"lacks weights for .*layer.1.*folder is incomplete"):
        classifying(**small(folder)).build_model()


def test_the_meta_device_builds_the_same_shape(
    sentence_folder: Path, masked_folder: Path, small: Options
) -> None:
    for folder in (sentence_folder, masked_folder):
        task = classifying(**small(folder))
        with torch.device("meta"):
            shape = {name: p.shape for name, p in task.build_model().named_parameters()}
        assert shape == {name: p.shape for name, p in task.build_model().named_parameters()}
        assert json.dumps(task.facts())


@pytest.mark.parametrize("side", ["right", "left"])
def test_long_texts_have_the_tokens_that_truncation_leaves(masked_folder: Path, side: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(masked_folder)
    tokenizer.truncation_side = side
    long = "".join(f"{number} great films. " for number in range(400))
    pairs = [("a film", long), (long, "a film"), (long, long.upper()), ("a film", "moving")]
    encoded = HeadScoring(TextEncoder(tokenizer, 48)).encode([LabelledExample(pair, 0) for pair in pairs])
    batch = encoded.batch(np.arange(len(pairs)))
    for row, pair in enumerate(pairs):
        expected = tokenizer(*pair, truncation=True, max_length=48, split_special_tokens=True)
        chosen = batch["attention_mask"][row].bool()
        assert batch["input_ids"][row, chosen].tolist() == expected["input_ids"]
