"""The task in the standard trainer: a recipe, resuming, objectives without gradient."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graftwork import GraftworkError, build_recipe, parse_set
from graftwork_text.tasks.answering.prompt_answering import PromptAnswering
from graftwork_trainer.dry_run import describe
from graftwork_trainer.run_directory import RunDirectory

RECIPE = """
[task]
name = "prompt-answering"
model = {model!r}
data = {data!r}
max_length = 128
max_new_tokens = 6
batch_size = 4
[optimizer]
name = "adamw"
lr = 0.005
[trainer]
name = "standard"
steps = 8
log_every = 2
evaluate_every = 4
checkpoint_every = 3
device = "cpu"
"""


@pytest.fixture
def resolve(toy: None, folder: Path, task_of: Callable[..., PromptAnswering]) -> Callable[..., Any]:
    """The recipe on made-up questions of a form, with some settings."""

    def make(form: str, *settings: str) -> Any:
        text = RECIPE.format(model=str(folder), data=task_of(form).files.name)
        return build_recipe(
            tomllib.loads(text), overrides=[parse_set(setting) for setting in settings]
        ).resolve()

    return make


def fit(resolved: Any, directory: Path, *, resume: bool = False) -> RunDirectory:
    trainer, task = resolved.trainer(), resolved.task()
    run = RunDirectory(directory, resolved, {}, resume=resume, quiet=True)
    trainer.fit(task, resolved, run)
    return run


@pytest.mark.parametrize(
    ("form", "settings"),
    [
        ("free", ()),
        ("choice", ()),
        ("free", ("optimizer.name=evolution", "task.objective=f1")),
        ("choice", ("optimizer.name=evolution", "task.objective=accuracy")),
    ],
)
def test_a_resumed_training_ends_with_the_same_bits(
    resolve: Callable[..., Any],
    assert_same_end: Callable[[Path, Path], None],
    read_lines: Callable[[Path], list[dict[str, Any]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    settings: tuple[str, ...],
) -> None:
    from graftwork_trainer.batches import StepBatches

    resolved = resolve(form, *settings)
    run = fit(resolved, tmp_path / "whole")
    draw, drawn = StepBatches.next_step, []

    def draw_five(self: StepBatches) -> Any:
        drawn.append(1)
        if len(drawn) > 5:
            raise GraftworkError("enough")
        return draw(self)

    monkeypatch.setattr(StepBatches, "next_step", draw_five)
    with pytest.raises(GraftworkError, match="enough"):
        fit(resolved, tmp_path / "parts")
    monkeypatch.undo()
    fit(resolved, tmp_path / "parts", resume=True)
    assert_same_end(tmp_path / "whole", tmp_path / "parts")
    evaluations = [line for line in read_lines(run.directory) if "validation/loss" in line]
    wanted = "validation/accuracy" if form == "choice" else "validation/f1"
    assert all(wanted in line for line in evaluations)
    assert evaluations


def test_a_gradient_of_f1_is_refused(resolve: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(GraftworkError, match=r"task.objective = 'f1' has no gradient"):
        fit(resolve("free", "task.objective=f1"), tmp_path / "run")


def test_a_dry_run_describes_the_task(resolve: Callable[..., Any]) -> None:
    assert "prompt-answering" in describe(resolve("free"))
