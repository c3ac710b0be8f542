"""Options that several components refuse are told at once, with what is wrong besides."""

from __future__ import annotations

import pytest

from graftwork import RecipeError, build_recipe, parse_set
from graftwork.cli import main
from graftwork.errors import OptionError
from graftwork_trainer.option_mistakes import ranges_told, refusals_told_together

RECIPE = """
[task]
name = "regression"
[optimizer]
name = "adamw"
lr = -1.0
betas = [0.9, 1.5]
[trainer]
name = "standard"
steps = -3
warmup_steps = -1
"""
REFUSED = [
    "trainer/standard: steps must be at least 1, got -3 (trainer.steps)",
    "trainer/standard: warmup_steps must be at least 0, got -1 (trainer.warmup_steps)",
    "optimizer/adamw: Invalid learning rate: -1.0 (optimizer.lr)",
    "optimizer/adamw: Invalid beta parameter at index 1: 1.5 (optimizer.betas)",
]


@pytest.fixture
def told(toy, tmp_path, monkeypatch, capsys):
    """Run a command on a recipe; return what it says of the recipe, a line each."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy.toml").write_text(RECIPE)

    def run(word, *arguments):
        assert main([word, "toy.toml", *arguments]) == 2
        return [line.strip() for line in capsys.readouterr().err.splitlines()]

    return run


@pytest.mark.parametrize(
    "arguments", [["--dry-run"], ["--quiet", "--out", "run"]], ids=lambda given: given[0]
)
def test_all_ranges_are_told_at_once(told, arguments):
    assert told("train", *arguments) == ["graftwork: error: toy.toml: 4 mistakes", *REFUSED]


def test_they_are_told_with_mistakes_of_other_kinds(told):
    heading, *lines = told("train", "--dry-run", "--set", "trainer.precision=bf16", "--set", "task.zebra=1")
    assert heading == "graftwork: error: toy.toml: 6 mistakes"
    assert lines[2:] == REFUSED


def test_a_comparison_tells_them_of_each_variant(told):
    settings = ("--set", "optimizer.betas=[0.9, 0.9]", "--set", "trainer.warmup_steps=0")
    _, *lines = told("compare", "--over", "optimizer.lr=-1.0,-2.0", *settings)
    assert [line.partition(" (")[0] for line in lines] == [
        "trainer/standard: steps must be at least 1, got -3",
        "--over optimizer.lr=-1.0: optimizer/adamw: Invalid learning rate: -1.0",
        "--over optimizer.lr=-2.0: optimizer/adamw: Invalid learning rate: -2.0",
    ]


def test_a_value_of_the_command_line_without_its_option_is_told_how_it_is_given(told):
    assert told("train", "trainer.steps=3")[0].partition(" (see")[0].endswith("--set trainer.steps=3")
    assert told("compare", "trainer.steps=3,4")[0].partition(" (see")[0].endswith("--over trainer.steps=3,4")


def test_one_is_told_as_it_was_raised(toy):
    resolved = build_recipe({"task": {"name": "regression"}, "optimizer": {"name": "adamw"}}).resolve()
    with pytest.raises(OptionError, match=r"^met$"), refusals_told_together(resolved):
        raise OptionError("met")


def test_what_depends_on_the_model_is_told_as_it_was_met(toy):
    sections = {"task": {"name": "regression"}, "optimizer": {"name": "adamw", "lr": -1.0}}
    resolved = build_recipe(sections, overrides=[parse_set("trainer.steps=-1")]).resolve()
    met = OptionError("optimizer/adamw: lr is too low for this model", "optimizer/adamw", "lr")
    with pytest.raises(RecipeError) as caught, refusals_told_together(resolved):
        raise met
    assert caught.value.mistakes == (
        "trainer/standard: steps must be at least 1, got -1 (--set trainer.steps=-1)",
        str(met),
    )


def test_of_stages_each_is_told_with_its_name(toy):
    sections = {
        "task": {"name": "regression"},
        "optimizer": {"name": "adamw"},
        "stages": [{"name": "one", "trainer": {"steps": -1}}, {"name": "two", "optimizer": {"lr": -1.0}}],
    }
    resolved = build_recipe(sections).resolve()
    with pytest.raises(RecipeError) as caught, refusals_told_together(resolved):
        resolved.stages[0].trainer()
    assert [line.partition(":")[0] for line in caught.value.mistakes] == ["stage 'one'", "stage 'two'"]


def test_where_all_ranges_are_right_nothing_is_added(toy):
    sections = {"task": {"name": "regression", "zebra": 1}, "optimizer": {"name": "adamw"}}
    with pytest.raises(RecipeError) as caught, ranges_told():
        build_recipe(sections, overrides=[parse_set("trainer.steps=3")]).resolve()
    assert len(caught.value.mistakes) == 1
