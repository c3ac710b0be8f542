"""Fine-tuning with another attention, chosen by name: what is trained, kept and used afterwards."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from graftwork import GraftworkError, RecipeError
from graftwork_text.tasks.classification.sequence_classification import SequenceClassification
from graftwork_trainer.checkpoint import open_checkpoint
from graftwork_trainer.dry_run import describe
from graftwork_trainer.usage.evaluating import evaluate_run
from graftwork_trainer.usage.exporting import export
from graftwork_trainer.usage.predicting import predict_run

RECIPE = """
[task]
name = "sequence-classification"
model = {model!r}
data = {data!r}
max_length = 48
batch_size = 8
[attention]
name = "mean"
gain = 0.5
[optimizer]
name = "adamw"
lr = 0.01
[trainer]
name = "standard"
steps = 6
evaluate_every = 3
checkpoint_every = 2
device = "cpu"
"""


@pytest.fixture
def resolved(
    resolve: Callable[..., Any], masked_folder: Path, sentence_folder: Path, reviews: Path
) -> Callable[..., Any]:
    """The recipe on a tiny BERT, with some settings."""

    def make(*settings: str, model: Path = sentence_folder) -> Any:
        return resolve(RECIPE.format(model=str(model), data=str(reviews)), *settings)

    return make


def mixers(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if type(module).__name__ == "Mean"]


@pytest.mark.parametrize("pooling", ["mean", "model"])
def test_the_attention_of_every_layer_is_the_chosen_one(resolved: Callable[..., Any], pooling: str) -> None:
    task = resolved(f"task.pooling={pooling}").task()
    found = mixers(task.build_model())
    assert [(mixer.sizes, mixer.gain) for mixer in found] == [((16, 2, 48, layer), 0.5) for layer in range(2)]
    assert task.facts()["attention"] == "mean"


@pytest.mark.parametrize(
    ("folder", "scoring"), [("sentence_folder", "similarity"), ("masked_folder", "masked-lm")]
)
def test_prompting_with_another_attention(
    resolved: Callable[..., Any], request: pytest.FixtureRequest, folder: str, scoring: str
) -> None:
    model = request.getfixturevalue(folder)
    task = resolved("task.name=prompt-classification", model=model).task()
    assert task.scoring_name == scoring
    built = task.build_model()
    assert len(mixers(built)) == 2
    batch = next(iter(task.batches("train", rank=0, world_size=1, seed=0)))
    assert task.loss(built, batch)[0].isfinite()


@pytest.mark.parametrize("name", ["sequence-classification", "prompt-classification"])
def test_what_cannot_be_converted_is_a_sentence(
    resolved: Callable[..., Any], causal_folder: Path, name: str
) -> None:
    task = resolved(f"task.name={name}", model=causal_folder).task()
    with pytest.raises(GraftworkError, match=r"^the attention of Llama\w+ cannot be replaced: it is no enc"):
        task.build_model()


def test_an_attention_is_checked_with_the_recipe(resolved: Callable[..., Any]) -> None:
    with pytest.raises(RecipeError, match=r"attention\.gian.*gain"):
        resolved("attention.gian=2")


def test_an_interrupted_training_ends_with_the_same_bits(
    resolved: Callable[..., Any], fit_whole_and_in_parts: Callable[..., Path]
) -> None:
    run = fit_whole_and_in_parts(resolved(), 3)
    state = open_checkpoint(max((run / "checkpoints").iterdir())).part("model")["model"]
    assert [name for name in state if name.endswith("mixer.map.weight")]


def test_a_run_with_another_attention_is_of_use(
    resolved: Callable[..., Any], fit: Callable[..., Path], tmp_path: Path, masked_folder: Path
) -> None:
    """It predicts, is evaluated again to the same figures, and exported."""
    run = fit(resolved("task.pooling=model", model=masked_folder), tmp_path / "run")
    kept = json.loads((run / "result.json").read_text())["metrics"]
    again = evaluate_run(str(run)).metrics
    assert again == pytest.approx({name: kept[f"validation/{name}"] for name in again})
    (tmp_path / "new.jsonl").write_text('{"text": "a great film"}\n{"text": "dull acting"}\n')
    rows = list(predict_run(str(run), str(tmp_path / "new.jsonl")))
    assert {row["predicted"] for _, row in rows} <= {"positive", "negative"}
    export(str(run), tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_low_rank_adapters_stay_out_of_it_and_it_is_trained(resolved: Callable[..., Any]) -> None:
    pytest.importorskip("peft")
    for pooling in ("mean", "model"):
        model = resolved("task.lora_rank=2", f"task.pooling={pooling}").task().build_model()
        trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        inside = {name for name in trained if ".mixer." in name}
        assert len(inside) == 4
        assert not any("lora" in name for name in inside)
        assert any(".lora_" in name for name in trained)


def test_patterns_mean_what_they_say(resolved: Callable[..., Any]) -> None:
    model = resolved('task.train_only=["classifier.*"]').task().build_model()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {"classifier.weight", "classifier.bias"}
    model = resolved('task.freeze=["*embeddings*"]').task().build_model()
    assert not any(
        parameter.requires_grad for name, parameter in model.named_parameters() if "embeddings" in name
    )


def test_a_dry_run_builds_its_shape(resolved: Callable[..., Any]) -> None:
    built = resolved().task().build_model()
    count = sum(parameter.numel() for parameter in built.parameters())
    assert re.search(rf"^parameters +{count:,}$", describe(resolved()), re.MULTILINE)


def test_code_may_give_a_builder(sentence_folder: Path, reviews: Path, toy: None) -> None:
    def build(dim: int, heads: int, max_len: int, *, layer_index: int) -> nn.Module:
        return nn.Bilinear(dim, heads, max_len + layer_index)

    task = SequenceClassification(model=str(sentence_folder), data=str(reviews), attention=build)
    found = [module for module in task.build_model().modules() if isinstance(module, nn.Bilinear)]
    assert [module.out_features for module in found] == [64, 65]
    assert str(task.facts()["attention"]).endswith("build")
