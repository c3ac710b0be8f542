"""The shipped recipes on somebody's own small tables and texts: the first command trains.

Reached from here: ``sources/smallest.py``.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from graftwork import load_recipe, parse_set
from graftwork_text.sources import smallest
from graftwork_trainer import train

BRIEF = ("trainer.steps=1", "trainer.warmup_steps=0", "task.batch_size=2", "task.cache=cache")
# Recipes name the AdamW of a package that is not installed here.
TOY = "optimizer.name=toy:adamw"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return smallest.weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(autouse=True)
def folder(toy: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def reviews(rows: int) -> str:
    with Path("reviews.csv").open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["text", "label"])
        table.writerows([f"Number {n} was {'fine' if n % 2 else 'dull'}.", n % 2] for n in range(rows))
    return "reviews.csv"


@pytest.mark.parametrize("rows", [3, 10, 50, 200, 600])
def test_a_table_is_shared_out_and_that_is_said(
    rows: int, weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [f"task.data={reviews(rows)}", f"task.model={weights}", *BRIEF[:3], TOY]
    trained = train(load_recipe("sequence-classification", [parse_set(text) for text in settings]))
    assert "validation/accuracy" in trained.metrics
    told = capsys.readouterr().err
    assert "reviews.csv has fewer examples than asked for" in told
    assert "to learn from (train_examples = 1000)" in told
    assert "for validation (validation_examples = 500)" in told
    assert "for the test (test_examples = 1000)" in told


@pytest.mark.parametrize("characters", [60, 1_000, 20_000])
def test_a_text_of_any_length_is_learnt_from(characters: int) -> None:
    sentence = "The miller sells lantern {}. "
    text = "".join(sentence.format(number) for number in range(characters // len(sentence) + 1))
    Path("mine.txt").write_text(text, "utf-8")
    settings = ["task.data=mine.txt", "model.layers=1", "model.hidden_size=16", "model.heads=2", *BRIEF, TOY]
    trained = train(load_recipe("lm-pretrain", [parse_set(text) for text in settings]))
    assert trained.metrics["validation/loss"] > 0
