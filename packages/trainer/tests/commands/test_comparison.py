"""The runs of a comparison: each different from the others, and from what its directory holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from graftwork import GraftworkError
from graftwork.cli import main
from graftwork_trainer.commands import compare
from graftwork_trainer.commands.comparison import Job, plan

RECIPE = '[task]\nname = "regression"\n[optimizer]\nname = "sgd"\n[trainer]\nseed = 3\n'


@pytest.fixture
def planned(toy: None, tmp_path: Path) -> Callable[..., list[Job]]:
    """The runs of a comparison of the toy recipe."""
    (tmp_path / "toy.toml").write_text(RECIPE)

    def build(*overs: str, seeds: int = 1) -> list[Job]:
        return plan(str(tmp_path / "toy.toml"), overs, [], seeds=seeds, out=tmp_path / "out")

    return build


def test_every_combination_has_every_seed_from_the_recipes_on(planned):
    jobs = planned("optimizer.name=sgd,adamw", "optimizer.lr=1,2", seeds=2)
    assert [job.name for job in jobs][:3] == ["sgd-lr-1-seed3", "sgd-lr-1-seed4", "sgd-lr-2-seed3"]
    assert len({job.directory for job in jobs}) == 8
    assert [job.resolved.sections["trainer"]["seed"] for job in jobs] == [3, 4] * 4


@pytest.mark.parametrize(
    ("overs", "sentence"),
    [
        (
            ["optimizer.lr=1e-3,0.001"],
            "--over optimizer.lr=0.001 is the same as --over optimizer.lr=1e-3, with",
        ),
        (["optimizer.lr=1,1"], "--over optimizer.lr=1 is given twice, with seed 3: give each value once"),
        (["trainer.seed=0,1"], "--over trainer.seed=1 is the same as --over trainer.seed=0, with seed 1"),
        (["optimizer.lr=1", "optimizer.lr=2"], "--over optimizer.lr is given 2 times"),
    ],
)
def test_a_run_is_planned_once(planned, overs, sentence):
    with pytest.raises(GraftworkError, match=sentence):
        planned(*overs, seeds=2)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (b"[optimizer]\nlr = 2.0\n", r"another recipe \(optimizer.lr = 2.0 there, 1.0 here\)"),
        (b"", "lr-1-seed3 was trained there with another recipe"),
        (b"\xff", "lr-1-seed3/recipe.toml: is not UTF-8 text.*; the run is damaged"),
    ],
)
def test_a_directory_of_another_run_is_left_alone(planned, found, sentence):
    (job,) = planned("optimizer.lr=1")
    job.directory.mkdir(parents=True)
    (job.directory / "recipe.toml").write_bytes(found)
    with pytest.raises(GraftworkError, match=sentence):
        planned("optimizer.lr=1")


def test_what_was_begun_is_gone_on_with(planned):
    (job,) = planned("optimizer.lr=1")
    assert not job.begun
    job.directory.mkdir(parents=True)
    (job.directory / "recipe.toml").write_text(job.resolved.to_toml())
    (again,) = planned("optimizer.lr=1")
    assert again.begun
    assert not again.finished


def test_values_and_seeds_go_over_every_stage(planned, tmp_path):
    text = f'{RECIPE}[[stages]]\nname = "general"\n[[stages]]\nname = "mine"\n[stages.trainer]\nseed = 8\n'
    (tmp_path / "toy.toml").write_text(text)
    jobs = planned("optimizer.lr=1,2", seeds=2)
    assert [job.name for job in jobs] == ["lr-1-seed3", "lr-1-seed4", "lr-2-seed3", "lr-2-seed4"]
    found = [
        [
            (stage.sections["optimizer"]["lr"], stage.sections["trainer"]["seed"])
            for stage in job.resolved.stages
        ]
        for job in jobs[1:3]
    ]
    assert found == [[(1, 4), (1, 9)], [(2, 3), (2, 8)]]
    jobs = planned("stages.mine.optimizer.lr=1,2")
    assert [job.resolved.stages[0].sections["optimizer"]["lr"] for job in jobs] == [0.001, 0.001]
    jobs[0].directory.mkdir(parents=True)
    (jobs[0].directory / "recipe.toml").write_text(jobs[1].resolved.to_toml())
    with pytest.raises(GraftworkError, match=r"stages\.mine\.optimizer\.lr = 2\.0 there, 1\.0 here"):
        planned("stages.mine.optimizer.lr=1,2")


@pytest.fixture
def asked_for(toy: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """What `graftwork compare` plans of a recipe, or its exit code where it plans nothing."""

    def call(text: str, *options: str) -> object:
        recipe = tmp_path / "mine.toml"
        recipe.write_text(text)
        planned: list[object] = []

        def plan_nothing(reference: str, overs: object, base: object, **_: object) -> list[Job]:
            planned.append(overs)
            raise GraftworkError("enough")

        monkeypatch.setattr(compare, "plan", plan_nothing)
        code = main(["compare", str(recipe), *options])
        return planned[0] if planned else code

    return call


@pytest.mark.parametrize(
    ("listed", "sentence"),
    [
        ('["optimizer.lr=1", "optimizer.lr=2"]', "compare optimizer.lr is given 2 times"),
        ('["optimizer.lr=1,1"]', "the recipe's compare optimizer.lr=1 is given twice"),
        ('["optimizer.lr=fast"]', "(the recipe's compare optimizer.lr=fast)"),
        ('["optimizer.lr"]', "compare takes SECTION.KEY=VALUE,VALUE"),
        ("[]", "mine.toml is empty"),
    ],
)
def test_a_mistake_in_the_recipes_list_is_told_as_one(toy, tmp_path, capsys, listed, sentence):
    recipe = tmp_path / "mine.toml"
    recipe.write_text(f"compare = {listed}\n{RECIPE}")
    assert main(["compare", str(recipe), "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert ("--over" in told) == (listed == "[]")


def test_without_over_the_recipe_says_what_is_compared(asked_for):
    text = f'compare = ["optimizer.name=sgd,adamw"]\n{RECIPE}'
    assert asked_for(text) == ("optimizer.name=sgd,adamw",)
    assert asked_for(text, "--over", "optimizer.lr=1,2") == ["optimizer.lr=1,2"]


def test_where_neither_says_what_to_compare_that_is_one_sentence(asked_for, capsys):
    assert asked_for(RECIPE) == 2
    assert "--over KEY=A,B is missing: recipe " in capsys.readouterr().err.splitlines()[-1]
