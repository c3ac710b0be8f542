"""The task in the standard trainer: a recipe, resuming, objectives without gradient."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graftwork import GraftworkError
from graftwork_text.tasks.answering.prompt_answering import PromptAnswering
from graftwork_trainer.dry_run import describe

Resolve = Callable[..., Any]
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
def resolved(resolve: Resolve, folder: Path, task_of: Callable[..., PromptAnswering]) -> Resolve:
    """The recipe on made-up questions of a form, with some settings."""

    def make(form: str, *settings: str) -> Any:
        return resolve(RECIPE.format(model=str(folder), data=task_of(form).corpus.name), *settings)

    return make


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
    resolved: Resolve,
    fit_whole_and_in_parts: Callable[..., Path],
    records: Callable[[Path], Any],
    form: str,
    settings: tuple[str, ...],
) -> None:
    run = fit_whole_and_in_parts(resolved(form, *settings), 5)
    evaluations = [line for line in records(run) if "validation/loss" in line]
    wanted = "validation/accuracy" if form == "choice" else "validation/f1"
    assert all(wanted in line for line in evaluations)
    assert evaluations


def test_a_gradient_of_f1_is_refused(resolved: Resolve, fit: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(GraftworkError, match=r"task.objective = 'f1' has no gradient"):
        fit(resolved("free", "task.objective=f1"), tmp_path / "run")


def test_a_dry_run_describes_the_task(resolved: Resolve) -> None:
    assert "prompt-answering" in describe(resolved("free"))
