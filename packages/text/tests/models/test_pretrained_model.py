"""``[model]`` of a fine-tuning task: weights by name, by section, from code; random ones; other models."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from graftwork import GraftworkError, RecipeError, choose
from graftwork_text.models.pretrained_model import pretrained, pretrained_of
from graftwork_text.sources import smallest

TINY = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    BertModel(BertConfig(vocab_size=9, **TINY)).save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def weights_of(model: torch.nn.Module) -> torch.Tensor:
    return model.state_dict()["bert.encoder.layer.0.output.dense.weight"]


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        ("encoder", "BertModel"),
        ("classes", "BertForSequenceClassification"),
        ("masked-lm", "BertForMaskedLM"),
        ("causal-lm", "BertLMHeadModel"),
    ],
)
def test_every_head(folder: Path, head: str, kind: str) -> None:
    assert type(pretrained(head, weights=str(folder))).__name__ == kind


def test_a_head_that_there_is_not(folder: Path) -> None:
    with pytest.raises(
        ValueError, match="head must be one of encoder, classes, masked-lm, causal-lm, got 'x'"
    ):
        pretrained("x", weights=str(folder))


def test_random_weights_are_drawn_from_torchs_generator(folder: Path) -> None:
    models = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        models.append(pretrained("classes", weights=str(folder), random_weights=True))
    first, same, other = map(weights_of, models)
    own = weights_of(pretrained("classes", weights=str(folder)))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert not torch.equal(first, own)


def test_weights_are_found_whoever_names_them(folder: Path) -> None:
    chosen = choose("model", "text:pretrained", {"weights": str(folder), "random_weights": True})
    for given, random in (
        (str(folder), False),
        (partial(pretrained, weights=str(folder)), False),
        (partial(pretrained, weights=str(folder), random_weights=True), True),
        (chosen, True),
    ):
        found = pretrained_of(given)
        assert (found.name, found.random) == (str(folder), random)
        assert found.identity.get("weights") == ("random" if random else None)


def test_a_model_without_a_tokenizer_is_a_sentence() -> None:
    class Other(torch.nn.Module): ...

    with pytest.raises(GraftworkError, match=r"has no tokenizer, with which .* take the model 'pretrained'"):
        pretrained_of(Other)


def test_a_section_and_a_text_are_the_same_task(tmp_path: Path) -> None:
    options = smallest.fine_tuning(tmp_path, smallest.labelled(tmp_path))
    folder = options.pop("model")
    tasks = [
        choose("task", "text:sequence-classification", {**options, "model": model})()
        for model in (folder, {"name": "pretrained", "weights": folder})
    ]
    one, other = (task.facts() for task in tasks)
    assert one == other
    assert isinstance(tasks[0].tokenizer, PreTrainedTokenizerFast)


@pytest.mark.parametrize("task", ["sequence-classification", "prompt-classification", "prompt-answering"])
def test_a_model_of_another_task_is_refused_with_the_recipe(task: str) -> None:
    with pytest.raises(RecipeError, match=rf"model/llama-tiny takes no head, which task/{task} supplies"):
        choose("task", f"text:{task}", {"model": {"name": "llama-tiny"}})
