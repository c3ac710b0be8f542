"""The reproduction of LOZO on a small task in place of the registered one."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graftwork import Extra, GraftworkError, get_registry
from graftwork_optim_core.reproductions import lozo
from graftwork_optim_core.reproductions.allocation import peak_allocation

PASSES = 40


class Counted(nn.Sequential):
    """A classifier that counts its forward passes over training batches of 8; one over 16 is two."""

    passes = 0

    def forward(self, inputs: Tensor) -> Tensor:
        Counted.passes += len(inputs) // 8 if len(inputs) <= 16 else 0
        output: Tensor = super().forward(inputs)
        return output


class Task:
    """Two classes of points, told apart by the sign of their first number."""

    made: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, **options: Any) -> None:
        Task.made.append(options)

    def build_model(self) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return Counted(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 2))

    def batches(self, split: str, *, rank: int, world_size: int, seed: int) -> Iterator[Any]:
        generator = torch.Generator().manual_seed(seed)
        while True:
            inputs = torch.randn(8, 12, generator=generator)
            yield {"inputs": inputs, "labels": (inputs[:, 0] > 0).long()}

    def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, dict[str, Any]]:
        return F.cross_entropy(model(batch["inputs"]), batch["labels"]), {}

    @torch.no_grad()
    def test_metrics(self, model: nn.Module) -> dict[str, float]:
        inputs = torch.randn(200, 12, generator=torch.Generator().manual_seed(9))
        labels = (inputs[:, 0] > 0).long()
        logits = model(inputs)
        accuracy = (logits.argmax(1) == labels).float().mean()
        return {"loss": float(F.cross_entropy(logits, labels)), "accuracy": float(accuracy)}

    evaluate = test_metrics


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    Task.made = []
    monkeypatch.setattr(lozo, "choose", lambda kind, name, options: partial(Task, **options))


def test_every_method_spends_the_same_forward_passes(small: None) -> None:
    for method in lozo.METHODS:
        Counted.passes = 0
        lozo.train(Task(), method, 1e-3, PASSES, seed=0)
        # The first step of a zeroth-order method looks at how the model uses its weights and checks that.
        assert PASSES <= Counted.passes <= PASSES + (8 if method.passes == 2 else 0), method.name


def test_table_and_files(small: None, tmp_path: Path) -> None:
    findings = lozo.reproduce(tmp_path, forward_passes=PASSES, seeds=2)
    measured = {finding.quantity: finding for finding in findings}
    names = [m.name for m in lozo.METHODS if m.lora_rank is None or importlib.util.find_spec("peft")]
    for name in names:
        accuracy = measured[f"test accuracy after {PASSES} forward passes, {name}"]
        assert 0.3 < accuracy.measured <= 1
        assert "over 2 seeds" in accuracy.note
        assert measured[f"peak memory beyond the weights, {name}, MiB"].measured > 0
    before = measured["test loss before training"].measured
    assert measured[f"test loss after {PASSES} forward passes, AdamW"].measured < before
    assert "parity is what theory allows" in measured["test loss of LOZO less that of MeZO, same seeds"].note
    with (tmp_path / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["seed"]) for row in rows] == [
        (name, str(s)) for name in names for s in (0, 1)
    ]
    rates = {method.name: method.rates for method in lozo.METHODS}
    assert all(float(row["learning rate"]) in rates[row["method"]] for row in rows)
    assert (tmp_path / "curves.csv").read_text().startswith("method,seed,forward passes,training loss")
    assert (tmp_path / "lozo.png").is_file() == bool(importlib.util.find_spec("matplotlib"))
    parts = [made.get("train_only") for made in Task.made]
    assert None in parts
    assert ["encoder.layer.5.*"] in parts


def test_seeds_differ_and_repeat(small: None) -> None:
    method = next(method for method in lozo.METHODS if method.name == "LOZO")
    one, again, other = (lozo.train(Task(), method, 1e-3, PASSES, seed) for seed in (0, 0, 1))
    assert one == again
    assert one.loss != other.loss


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"forward_passes": 5}, "forward_passes must be even and 4 or more, got 5"),
        ({"seeds": 1}, "seeds must be 2 or more, got 1"),
    ],
)
def test_options_out_of_range(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lozo.reproduce(tmp_path, **options)


def test_what_is_not_installed_is_named_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = Extra("graftwork-text[lora]", ("no_such_module",), "the row of LoRA")
    monkeypatch.setattr(lozo, "LORA", absent)
    monkeypatch.setenv("GRAFTWORK_PLUGINS", "optim-core")
    get_registry.cache_clear()
    try:
        with pytest.raises(GraftworkError, match="task/prompt-classification comes with graftwork-text"):
            lozo.reproduce(tmp_path / "never")
    finally:
        get_registry.cache_clear()
    assert "without the row of LoRA, for which peft is not installed" in capsys.readouterr().out
    assert not (tmp_path / "never").exists()


def test_peak_allocation_counts_what_lives_together() -> None:
    def one_after_the_other() -> None:
        for _ in range(3):
            torch.zeros(1 << 18)

    assert 1 << 20 <= peak_allocation(one_after_the_other) < 3 << 20
    assert peak_allocation(lambda: [torch.zeros(1 << 18) for _ in range(3)]) >= 3 << 20
