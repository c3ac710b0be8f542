"""The command and its config."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from graftwork import GraftworkError, RecipeError, parse_set
from graftwork_decentral.flatness.study import read_rows
from graftwork_decentral.flatness.study.command import FlatnessStudyCommand
from graftwork_decentral.flatness.study.config import read_study, shipped_configs

CONFIG = """
[task]
name = "toy-softmax"

[optimizer]
name = "toy-sgd"
lr = 0.1

[study]
name = "flatness"
graphs = ["ring", { name = "star" }]
batch_sizes = [2]
agents = 4
steps = 10
measure = ["excess-risk"]
descent_steps = 5
"""


@pytest.fixture
def config(toy: Any, tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(CONFIG)
    return path


def run(*words: str) -> int:
    command, parser = FlatnessStudyCommand(), argparse.ArgumentParser()
    command.configure(parser)
    return command.run(parser.parse_args(words))


def test_a_config_is_run_and_reported(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = config.parent / "out"
    arguments = (str(config), "--set", "study.seeds=[3]", "--out", str(output))
    assert run(*arguments) == 0
    printed = capsys.readouterr()
    assert "ring, batch 2, excess risk: " in printed.out
    assert "[5/5] consensus, star, batch 2, seed 3: training loss" in printed.err
    assert {row.seed for row in read_rows(output)} == {3}
    assert run(*arguments) == 0
    assert capsys.readouterr().err.count("already there") == 5


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        (
            "study.stepz=3",
            r"study.stepz \(--set study.stepz=3\): study/flatness has no option 'stepz', did you",
        ),
        ("study.steps=many", "study.steps .*: expected whole number, got 'many'"),
        ("study.measure=['trace']", "study.measure .*: expected list of 'excess-risk' or "),
        ("optimizer.name=sgdd", r"toml: 1 mistake\n.*optimizer.name .*sgdd"),
        ("optimizer.rate=1", "optimizer.rate .*: optimizer/toy-sgd has no option 'rate'"),
        ("modl.name=mlp", r"\[modl\]: nothing in this study uses it"),
        ("trainer.steps=3", r"\[trainer\]: nothing in this study uses it"),
    ],
)
def test_wrong_options_are_named(config: Path, setting: str, says: str) -> None:
    with pytest.raises(RecipeError, match=f"(?s){says}"):
        read_study(str(config), [parse_set(setting)])


def test_a_value_out_of_range_is_named(config: Path) -> None:
    _, chosen = read_study(str(config), [parse_set("study.agents=1")])
    with pytest.raises(GraftworkError, match="study/flatness: agents must be 2 or more, got 1"):
        chosen()


def test_a_config_must_have_a_study(config: Path) -> None:
    config.write_text(CONFIG.partition("[study]")[0])
    with pytest.raises(RecipeError, match=r"\[study\]: is missing"):
        read_study(str(config))


def test_unknown_configs_are_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(GraftworkError, match="did you mean 'digits'"):
        read_study("digit")
    with pytest.raises(GraftworkError, match="no such file"):
        read_study(str(tmp_path / "none.toml"))


@pytest.mark.parametrize("name", sorted(shipped_configs()))
def test_shipped_configs_name_only_options_that_there_are(toy: Any, name: str) -> None:
    swapped = [parse_set("optimizer.name=toy-sgd")]
    _, chosen = read_study(name, swapped)
    study = chosen()
    assert len(study.cells) >= 6


def test_the_figure_is_asked_for_before_anything_is_read(hide: Any) -> None:
    hide("matplotlib")
    says = r"^flatness-study needs matplotlib, .*: pip install 'graftwork-decentral\[reproduce\]'$"
    with pytest.raises(GraftworkError, match=says):
        run("there-is-no-such-config")


def test_data_is_asked_for_before_anything_trains(toy: Any, hide: Any, tmp_path: Path) -> None:
    hide("sklearn")
    says = r"^data = 'digits' needs sklearn, .*: pip install 'graftwork-decentral\[reproduce\]'$"
    with pytest.raises(GraftworkError, match=says):
        run("digits", "--set", "optimizer.name=toy-sgd", "--out", str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()
