"""Which parameters are trained."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from graftwork import GraftworkError, MissingExtraError, choose
from graftwork_text.tasks.classification.prompt_classification import PromptClassification
from graftwork_text.tasks.classification.sequence_classification import SequenceClassification
from graftwork_text.tasks.fine_tuning.adaptation import Adaptation

Options = Callable[..., dict[str, Any]]


def classifying(**options: Any) -> SequenceClassification:
    """The task with options as a recipe gives them."""
    task: SequenceClassification = choose("task", "sequence-classification", options)()
    return task


def prompting(**options: Any) -> PromptClassification:
    """The task with options as a recipe gives them."""
    task: PromptClassification = choose("task", "prompt-classification", options)()
    return task


def trained(model: torch.nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_only_what_a_pattern_names(sentence_folder: Path, small: Options) -> None:
    task = prompting(**small(sentence_folder, train_only=["encoder.layer.1.*"], freeze=["*.bias"]))
    names = trained(task.build_model())
    assert names
    assert all(name.startswith("encoder.layer.1.") and name.endswith(".weight") for name in names)


def test_all_but_what_a_pattern_names(sentence_folder: Path, small: Options) -> None:
    task = prompting(**small(sentence_folder, freeze=["embeddings.*"]))
    model = task.build_model()
    assert {name for name, _ in model.named_parameters()} - trained(model) == {
        name for name, _ in model.named_parameters() if name.startswith("embeddings.")
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_only": ["encoder.layer.7.*"]}, "train_only: no parameter matches 'encoder.layer.7.*'"),
        ({"freeze": ["*"]}, "leaves no parameter to train"),
    ],
)
def test_patterns_that_make_no_sense(
    sentence_folder: Path, small: Options, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(GraftworkError, match=message.replace("*", r"\*")):
        prompting(**small(sentence_folder, **options)).build_model()


def test_adapters_alone_are_trained_and_begin_as_the_identity(causal_folder: Path, small: Options) -> None:
    pytest.importorskip("peft")
    task = prompting(**small(causal_folder, lora_rank=2, lora_alpha=4.0))
    adapted, plain = task.build_model(), prompting(**small(causal_folder)).build_model()
    names = trained(adapted)
    assert names
    assert all("lora_" in name for name in names)
    layers = {name.split(".lora_")[0].rpartition(".")[2] for name in names}
    assert layers == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    batch = next(iter(task.batches("train", rank=0, world_size=1, seed=0)))
    torch.testing.assert_close(task.loss(adapted.eval(), batch)[0], task.loss(plain.eval(), batch)[0])
    task.loss(adapted, batch)[0].backward()
    assert all(p.grad is not None for p in adapted.parameters() if p.requires_grad)


@pytest.mark.parametrize("pooling", ["mean", "model"])
def test_a_fresh_head_is_trained_beside_the_adapters_and_not_adapted(
    sentence_folder: Path, small: Options, pooling: str
) -> None:
    pytest.importorskip("peft")
    options = small(sentence_folder, lora_rank=2, pooling=pooling, lora_target=["query", "value"])
    model = classifying(**options).build_model()
    names = trained(model)
    assert {"classifier.weight", "classifier.bias"} <= names
    rest = {name for name in names if not name.startswith(("classifier.", "bert.pooler."))}
    assert rest
    assert all((".query.lora_" in name) or (".value.lora_" in name) for name in rest)


def test_adapters_on_every_linear_layer_leave_the_head(sentence_folder: Path, small: Options) -> None:
    pytest.importorskip("peft")
    model = classifying(**small(sentence_folder, lora_rank=2, pooling="model")).build_model()
    assert not [name for name in trained(model) if name.startswith("classifier.") and "lora" in name]
    assert [name for name in trained(model) if ".output.dense.lora_" in name]


def test_a_layer_that_is_not_there(sentence_folder: Path, small: Options) -> None:
    pytest.importorskip("peft")
    task = prompting(**small(sentence_folder, lora_rank=2, lora_target=["q_proj"]))
    with pytest.raises(
        GraftworkError, match=r"lora_target = \['q_proj'\]: .*Layers of this model: dense, key"
    ):
        task.build_model()


def test_without_peft_the_message_names_the_extra_before_any_work(
    sentence_folder: Path, small: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "peft" else find_spec(name))
    with pytest.raises(MissingExtraError, match=r"lora_rank needs peft, .*'graftwork-text\[lora\]'"):
        prompting(**small(sentence_folder, lora_rank=2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lora_rank": 0}, "lora_rank must be at least 1"),
        ({"lora_alpha": 0.0}, "lora_alpha must be above 0"),
        ({"lora_rank": 2, "train_only": ["x"]}, "train_only must be left out with lora_rank"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Adaptation(**options)
