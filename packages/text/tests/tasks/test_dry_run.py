"""A dry run of the tasks on text tells of their data, and refuses what their first step refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from graftwork import build_recipe
from graftwork.cli import main

LANGUAGE: dict[str, Any] = {
    "task": {
        "name": "lm-pretrain",
        "data": "library",
        "cache": "cache",
        "sequence_length": 16,
        "vocabulary_size": 280,
        "evaluation_tokens": 64,
        "batch_size": 2,
    },
    "model": {
        "name": "llama-tiny",
        "hidden_size": 16,
        "intermediate_size": 32,
        "layers": 1,
        "heads": 2,
        "maximum_positions": 32,
    },
}
REVIEWS: dict[str, Any] = {
    "task": {"name": "sequence-classification", "model": "model", "data": "reviews.jsonl", "max_length": 48}
}
MISTAKES = {
    "no such text": (LANGUAGE, "task.data=nowhere", "nowhere"),
    "a table in place of text": (LANGUAGE, "task.data=table.csv", "table.csv"),
    "text without any": (LANGUAGE, "task.data=blank.txt", "blank.txt"),
    "no such test text": (LANGUAGE, "task.test_data=nowhere", "nowhere"),
    "no such tokenizer": (LANGUAGE, "task.tokenizer=nowhere", "nowhere"),
    "more tokens than the model sees": (LANGUAGE, "task.sequence_length=48", "at most 32"),
    "no table": (REVIEWS, "task.data=nowhere.csv", "nowhere.csv"),
    "a row too long": (REVIEWS, "task.data=table.csv", "table.csv"),
    "one label": (REVIEWS, "task.data=alike.jsonl", "label"),
    "labels in another column": (REVIEWS, "task.label_field=mood", "mood"),
    "no such weights": (REVIEWS, "task.model=nowhere", "nowhere"),
    "nothing to train": (REVIEWS, 'task.train_only=["no.such.layer"]', "no.such.layer"),
}


@pytest.fixture
def recipe(
    toy: None, reviews: Path, masked_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Where a recipe is to stand, beside good and bad data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRAFTWORK_DEBUG", raising=False)
    library = tmp_path / "library"
    library.mkdir()
    for number in range(20):
        words = " ".join(f"word{number * place % 97}" for place in range(1, 60))
        (library / f"{number}.txt").write_text(f"{words}\n\n{words[::-1]}")
    (tmp_path / "blank.txt").write_text("\n \n")
    (tmp_path / "table.csv").write_text("text,label\ngood,1\nbad,0,and more\n")
    alike = [json.dumps({"text": f"number {number}", "label": "same"}) for number in range(20)]
    (tmp_path / "alike.jsonl").write_text("\n".join(alike))
    (tmp_path / "reviews.jsonl").symlink_to(reviews)
    (tmp_path / "model").symlink_to(masked_folder)
    return tmp_path / "recipe.toml"


def written(recipe: Path, tables: dict[str, Any]) -> str:
    common = {"optimizer": {"name": "adamw"}, "trainer": {"name": "standard", "steps": 6, "device": "cpu"}}
    recipe.write_text(build_recipe({**tables, **common}).to_toml())
    return recipe.name


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_dry_run_refuses_what_the_first_step_refuses(
    mistake: str, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables, setting, named = MISTAKES[mistake]
    name = written(recipe, tables)
    told = []
    for more in (["--quiet", "--no-report"], ["--dry-run"]):
        shutil.rmtree("cache", ignore_errors=True)
        assert main(["train", name, "--out", "run", "--set", setting, *more]) == 2
        told.append(capsys.readouterr().err)
        shutil.rmtree("run", ignore_errors=True)
    of_training, of_dry_run = (one[one.rindex("graftwork: error: ") :] for one in told)
    assert of_dry_run.partition("; GRAFT")[0].strip() == of_training.partition("; the trace")[0].strip()
    assert "Traceback" not in "".join(told)
    assert named in of_dry_run


@pytest.mark.parametrize(
    ("tables", "lines"),
    [
        (LANGUAGE, ["vocabulary       280", "train documents  18", "steps            6", "epochs "]),
        (REVIEWS, ["labels           negative, positive", "train examples   ", "validation examples "]),
    ],
    ids=["lm-pretrain", "sequence-classification"],
)
def test_a_dry_run_tells_of_documents_tokens_epochs_examples_and_labels(
    tables: dict[str, Any], lines: list[str], recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = torch.get_rng_state()
    assert main(["train", written(recipe, tables), "--dry-run"]) == 0
    told = capsys.readouterr().out
    for line in [*lines, "first step       nothing is in its way"]:
        assert f"\n{line}" in told
    assert not Path("runs").exists()
    assert torch.equal(torch.get_rng_state(), state) or tables is LANGUAGE
