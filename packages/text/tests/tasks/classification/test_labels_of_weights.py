"""Classifiers that start from another run's weights: rows of the head stand for the labels they learnt."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from graftwork import GraftworkError
from graftwork_text.sources import smallest
from graftwork_trainer.checkpoint import open_checkpoint
from graftwork_trainer.training import train_resolved

RECIPE = """
[task]
name = "sequence-classification"
max_length = 32
batch_size = 4
[optimizer]
name = "adamw"
lr = 0.0
[trainer]
name = "standard"
steps = 1
device = "cpu"
"""


@pytest.fixture
def classify(resolve: Callable[..., Any], tmp_path: Path) -> Callable[..., Path]:
    """Train on a table with some labels; return the run."""
    weights = smallest.weights(tmp_path)

    def run(name: str, labels: str, *settings: str) -> Path:
        with (tmp_path / f"{name}.csv").open("w", encoding="utf-8", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(["text", "label"])
            table.writerows(
                (f"It is {label}, the {row}th.", label)
                for row, label in zip(range(40), itertools.cycle(labels), strict=False)
            )
        resolved = resolve(RECIPE, f"task.data={tmp_path / name}.csv", f"task.model={weights}", *settings)
        return train_resolved(resolved, tmp_path / name, resume=False, quiet=True).run

    return run


def head(run: Path) -> Tensor:
    model = open_checkpoint(max((run / "checkpoints").glob("step-*"))).part("model")["model"]
    return next(value for name, value in model.items() if name.endswith("score.weight"))


def facts(run: Path) -> dict[str, Any]:
    return json.loads((run / "environment.json").read_text("utf-8"))["data"]


def test_labels_keep_the_numbers_that_the_weights_have_learnt(classify: Callable[..., Path]) -> None:
    first = classify("first", "abc")
    assert json.loads((first / "model" / "labels.json").read_text("utf-8")) == ["a", "b", "c"]
    fewer = classify("fewer", "ca", f"trainer.start_from={first}", "trainer.seed=1")
    assert facts(fewer)["labels"] == "a, b, c"
    assert torch.equal(head(fewer), head(first))
    assert json.loads((fewer / "model" / "labels.json").read_text("utf-8")) == ["a", "b", "c"]


def test_other_labels_are_refused_where_rows_would_stand_for_them(classify: Callable[..., Path]) -> None:
    first = classify("first", "abc")
    with pytest.raises(
        GraftworkError, match=r"its head is a, b, c and the task's is x, y, z, .* other labels"
    ):
        classify("other", "xyz", f"trainer.start_from={first}")


def test_a_head_of_another_size_is_not_taken_and_told(
    classify: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    first = classify("first", "abc")
    capsys.readouterr()
    two = classify("two", "xy", f"trainer.start_from={first}")
    assert "score.weight (float32[3, 16] there, float32[2, 16] here)" in capsys.readouterr().err
    assert facts(two)["labels"] == "x, y"
