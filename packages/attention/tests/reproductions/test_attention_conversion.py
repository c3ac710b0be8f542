"""The reproduction of conversion on toy models in place of the pretrained ones.

Reached from here: ``reproductions/conversion_cells.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from graftwork import Finding, GraftworkError
from graftwork_attention.reproductions import attention_conversion, conversion_cells

BRIEF = {"processes": 1, "seeds": 2, "steps": (1, 3), "steps_before": 2, "test_examples": 40}


class Task:
    """Which of two tokens a sequence has more of."""

    def build_model(self) -> nn.Module:
        sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
        model = BertForSequenceClassification(BertConfig(vocab_size=9, num_hidden_layers=1, **sizes))
        model.bert.embeddings.requires_grad_(False)
        return model

    def batches(self, split: str, *, rank: int, world_size: int, seed: int) -> Iterator[dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(seed if split == "train" else 99)
        for number in range(1000 if split == "train" else 1):
            ids = torch.randint(1, 3, (40, 17), generator=generator)
            sample = torch.arange(40) + 40 * number
            yield {"input_ids": ids, "labels": ((ids == 1).sum(1) > 8).long(), "sample": sample}

    def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, dict[str, Any]]:
        return F.cross_entropy(model(input_ids=batch["input_ids"]).logits, batch["labels"]), {}

    def evaluate_rows(self, model: nn.Module, batch: Any) -> dict[str, Tensor]:
        right = model(input_ids=batch["input_ids"]).logits.argmax(1) == batch["labels"]
        return {"right": right, "sample": batch["sample"]}

    def metrics(self, rows: Any) -> dict[str, float]:
        return {"accuracy": rows["right"].double().mean().item()}


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Toy tasks; which cells are trained."""
    trained: list[str] = []
    train_cell = conversion_cells.train_cell

    def watched(cell: conversion_cells.Cell, *rest: Any) -> None:
        trained.append(cell.name)
        train_cell(cell, *rest)

    threads = torch.get_num_threads()
    for module in (attention_conversion, conversion_cells):
        monkeypatch.setattr(module, "task_of", lambda source, settings: Task())
    monkeypatch.setattr(attention_conversion, "train_cell", watched)
    yield trained
    torch.set_num_threads(threads)


def by_quantity(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.quantity: finding for finding in findings}


def test_a_table_of_every_model_attention_and_time(tmp_path: Path, toys: list[str]) -> None:
    findings = attention_conversion.reproduce(tmp_path, **BRIEF)
    # 4 mixers with 2 seeds, 3 and 4 with one, and what was before of text twice and of images.
    assert len(toys) == 8 + 3 + 4 + 2 + 1
    assert len(findings) == (4 + 3 + 4) * 3
    found = by_quantity(findings)
    for source in ("text", "images"):
        right_after = found[f"{source}, sdpa: accuracy right after"]
        assert right_after.expected == pytest.approx(right_after.measured, abs=1e-12)
    assert found["text from scratch, sdpa: accuracy right after"].expected is None
    lines = (tmp_path / "table.md").read_text("utf-8").splitlines()
    assert lines[0] == "| model | attention | before | right after | 1 steps | 3 steps | seeds |"
    assert len(lines) == 2 + 4 + 3 + 4
    assert json.loads((tmp_path / "findings.json").read_text("utf-8"))[0]["quantity"] == findings[0].quantity


def test_a_second_call_trains_what_is_missing_to_the_same_figures(tmp_path: Path, toys: list[str]) -> None:
    first = attention_conversion.reproduce(tmp_path, **BRIEF)
    toys.clear()
    lost = ("text-s3-1", "images-nystrom-0", "text-from-scratch-performer-0")
    for name in lost:
        (tmp_path / "cells" / f"{name}.json").unlink()
    assert attention_conversion.reproduce(tmp_path, **BRIEF) == first
    assert sorted(toys) == sorted(lost)


def test_figures_of_other_options_are_not_mixed_with_these(tmp_path: Path, toys: list[str]) -> None:
    attention_conversion.reproduce(tmp_path, **BRIEF)
    toys.clear()
    with pytest.raises(GraftworkError, match=r"holds figures of other options \(steps_before = 2\)"):
        attention_conversion.reproduce(tmp_path, **{**BRIEF, "steps_before": 3})
    assert not toys


def test_training_changes_the_attention_and_leaves_what_is_frozen(tmp_path: Path) -> None:
    settings = conversion_cells.Settings(steps=(1, 2), steps_before=1, test_examples=40)
    cell = conversion_cells.Cell("text", None, 0)
    conversion_cells.train_cell(cell, settings, tmp_path)
    task, model = Task(), Task().build_model()
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    conversion_cells.replaced(model, "s3", "text")
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    assert list(conversion_cells.training(task, model, (1, 2), "text", seed=0)) == [1, 2]
    changed = {
        name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])
    }
    assert frozen.isdisjoint(changed)
    assert [name for name in changed if ".smoother" in name or "kernel" in name]


def test_full_says_beforehand_how_long_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(attention_conversion, "_train", lambda *given: None)
    with pytest.raises(FileNotFoundError):
        attention_conversion.reproduce(tmp_path, full=True, **BRIEF)
    # 7 mixers and 2 seeds of three models, and what was before of two of them.
    assert capsys.readouterr().out.startswith("46 trainings: about ")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"processes": 0}, "processes must be at least 1, got 0"),
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"steps": (3, 3)}, "steps must be two numbers"),
    ],
)
def test_options_out_of_range(tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        attention_conversion.reproduce(tmp_path, **options)
