"""The task in the standard trainer: recipes, resuming, forward-only optimizers, the dry run.

Reached from here: ``tasks/fine_tuning/compute.py``, ``tasks/fine_tuning/task.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from graftwork import GraftworkError
from graftwork_trainer.dry_run import describe

Resolve = Callable[..., Any]

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
def resolved(resolve: Resolve, sentence_folder: Path, reviews: Path) -> Resolve:
    """The recipe on the tiny sentence encoder, with some settings."""
    return lambda *settings: resolve(RECIPE.format(model=str(sentence_folder), data=str(reviews)), *settings)


@pytest.mark.parametrize("optimizer", ["adamw", "evolution"])
def test_a_resumed_fine_tuning_ends_with_the_same_bits(
    resolved: Resolve, fit_whole_and_in_parts: Callable[..., Path], optimizer: str
) -> None:
    fit_whole_and_in_parts(resolved(f"optimizer.name={optimizer}"), 7)


def test_an_objective_without_gradient_trains_by_forward_passes_alone(
    resolved: Resolve, fit: Callable[..., Path], records: Callable[[Path], Any], tmp_path: Path
) -> None:
    with pytest.raises(GraftworkError, match=r"task.objective = 'f1' has no gradient"):
        fit(resolved("task.objective=f1"), tmp_path / "adamw")
    lines = records(fit(resolved("task.objective=f1", "optimizer.name=evolution"), tmp_path / "evolution"))
    losses = [line["train/loss"] for line in lines if "train/loss" in line]
    assert losses
    assert all(-1 <= loss <= 0 for loss in losses)
    last = [line for line in lines if "validation/loss" in line][-1]
    assert last["validation/loss"] == -last["validation/macro_f1"]
    assert last["validation/cross_entropy"] > 0


def test_a_dry_run_counts_what_is_trained(resolved: Resolve) -> None:
    whole = describe(resolved())
    assert "trained  " not in whole
    part = describe(resolved("task.train_only=['encoder.layer.1.output.dense.*']"))
    # A layer from 32 to 16 with its biases.
    assert f"trained          {32 * 16 + 16:,}" in part.splitlines()


def test_the_model_starts_from_its_weights_whatever_the_seed(resolved: Resolve) -> None:
    models = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        models.append(resolved().task().build_model().state_dict())
    assert all(torch.equal(tensor, models[1][name]) for name, tensor in models[0].items())
