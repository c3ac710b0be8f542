"""``graftwork evaluate``: the numbers of training again.

Reached from here: ``commands/evaluate.py``, ``usage/trained.py``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def metrics(run, *, best=False):
    found = json.loads((run / "result.json").read_text())["metrics"]
    return {name.removeprefix("validation/"): value for name, value in found.items()}


@pytest.mark.parametrize("optimizer", ["adamw", "averaged"])
def test_they_are_those_of_training_to_the_bit(train, graftwork, optimizer):
    run = train(f"optimizer.name={optimizer}")
    assert graftwork("evaluate", "run", "--out", "found.json") == 0
    found = json.loads(Path("found.json").read_text())
    assert (found["metrics"], found["step"], found["split"]) == (metrics(run), 4, "validation")


def test_rows_are_evaluated_as_in_training(train, graftwork, capfd):
    run = train("task.name=sampled")
    assert graftwork("evaluate", "run:best", "--out", "found.json") == 0
    assert json.loads(Path("found.json").read_text())["metrics"] == metrics(run)
    assert f"loss  {metrics(run)['loss']:.6g}" in capfd.readouterr().out


def test_a_part_or_an_option_that_is_not_there_is_one_sentence(train, graftwork, capfd):
    train("task.name=sampled")
    for arguments, told in {
        ("--split", "test"): "sampled has no test part (it has train and validation)",
        ("--data", "mine.csv"): "--data: sampled has no option data; name its own by --set task.NAME=VALUE",
        ("--set", "task.sorts=3"): "task/sampled has no option 'sorts'",
    }.items():
        assert graftwork("evaluate", "run", *arguments) == 2
        assert told in capfd.readouterr().err


def test_a_task_that_is_evaluated_as_a_whole_has_no_other_part(train, graftwork, capfd):
    train()
    assert graftwork("evaluate", "run", "--split", "test") == 2
    assert "Sines evaluates its validation data alone, not 'test'" in capfd.readouterr().err


def test_options_that_were_set_are_told_with_the_figures(train, graftwork, capfd):
    train("task.name=sampled")
    assert graftwork("evaluate", "run", "--set", "task.batch_size=2") == 0
    assert "run, step 4, data of the recipe with task.batch_size=2, validation:" in capfd.readouterr().out
    assert graftwork("evaluate", "run") == 0
    assert "run, step 4, its own data, validation:" in capfd.readouterr().out
