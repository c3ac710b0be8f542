"""The task in the standard trainer: recipes, resuming, forward-only optimizers, the dry run."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from graftwork import GraftworkError, build_recipe, parse_set
from graftwork_trainer.dry_run import describe
from graftwork_trainer.run_directory import RunDirectory

RECIPE = """
[task]
name = "prompt-classification"
model = {model!r}
data = {data!r}
max_length = 48
batch_size = 8
[optimizer]
name = "adamw"
lr = 0.01
[trainer]
name = "standard"
steps = 12
log_every = 4
evaluate_every = 6
checkpoint_every = 3
device = "cpu"
"""


@pytest.fixture
def resolve(toy: None, sentence_folder: Path, reviews: Path) -> Callable[..., Any]:
    """The recipe on the tiny sentence encoder, with some settings."""

    def make(*settings: str) -> Any:
        text = RECIPE.format(model=str(sentence_folder), data=str(reviews))
        return build_recipe(
            tomllib.loads(text), overrides=[parse_set(setting) for setting in settings]
        ).resolve()

    return make


def fit(resolved: Any, directory: Path, *, resume: bool = False) -> RunDirectory:
    trainer, task = resolved.trainer(), resolved.task()
    run = RunDirectory(directory, resolved, {}, resume=resume, quiet=True)
    trainer.fit(task, resolved, run)
    return run


@pytest.mark.parametrize("optimizer", ["adamw", "evolution"])
def test_a_resumed_fine_tuning_ends_with_the_same_bits(
    resolve: Callable[..., Any],
    assert_same_end: Callable[[Path, Path], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    optimizer: str,
) -> None:
    from graftwork_trainer.batches import StepBatches

    resolved = resolve(f"optimizer.name={optimizer}")
    fit(resolved, tmp_path / "whole")
    draw, drawn = StepBatches.next_step, []

    def draw_seven(self: StepBatches) -> Any:
        drawn.append(1)
        if len(drawn) > 7:
            raise GraftworkError("enough")
        return draw(self)

    monkeypatch.setattr(StepBatches, "next_step", draw_seven)
    with pytest.raises(GraftworkError, match="enough"):
        fit(resolved, tmp_path / "parts")
    monkeypatch.undo()
    fit(resolved, tmp_path / "parts", resume=True)
    assert_same_end(tmp_path / "whole", tmp_path / "parts")


def test_an_objective_without_gradient_trains_by_forward_passes_alone(
    resolve: Callable[..., Any], read_lines: Callable[[Path], list[dict[str, Any]]], tmp_path: Path
) -> None:
    with pytest.raises(GraftworkError, match=r"task.objective = 'f1' has no gradient"):
        fit(resolve("task.objective=f1"), tmp_path / "adamw")
    run = fit(resolve("task.objective=f1", "optimizer.name=evolution"), tmp_path / "evolution")
    lines = read_lines(run.directory)
    losses = [line["train/loss"] for line in lines if "train/loss" in line]
    assert losses
    assert all(-1 <= loss <= 0 for loss in losses)
    last = [line for line in lines if "validation/loss" in line][-1]
    assert last["validation/loss"] == -last["validation/macro_f1"]
    assert last["validation/cross_entropy"] > 0


def test_a_dry_run_counts_what_is_trained(resolve: Callable[..., Any]) -> None:
    whole = describe(resolve())
    assert "trained  " not in whole
    part = describe(resolve("task.train_only=['encoder.layer.1.output.dense.*']"))
    # A layer from 32 to 16 with its biases.
    assert f"trained          {32 * 16 + 16:,}" in part.splitlines()


def test_shipped_recipes_name_options_that_there_are(toy: None) -> None:
    from importlib import resources

    for name in ("zeroth-order-finetune", "sequence-classification"):
        text = (resources.files("graftwork_text") / f"recipes/{name}.toml").read_text("utf-8")
        content = tomllib.loads(text)
        content["optimizer"] = {"name": "adamw"}
        assert build_recipe(content).resolve().task.name == content["task"]["name"]


def test_the_model_starts_from_its_weights_whatever_the_seed(resolve: Callable[..., Any]) -> None:
    models = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        models.append(resolve().task().build_model().state_dict())
    assert all(torch.equal(tensor, models[1][name]) for name, tensor in models[0].items())
