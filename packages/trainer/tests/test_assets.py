"""What a model is used with: written once with the run, given to tasks that start from the run's weights."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from graftwork import GraftworkError, build_recipe
from graftwork_trainer.assets import take_assets
from graftwork_trainer.run_directory import RunDirectory

RECIPE = {"task": {"name": "regression"}, "optimizer": {"name": "adamw"}, "trainer": {"name": "standard"}}


class Keeping:
    """A task that keeps a word, and notes what it is given."""

    def __init__(self, word: str = "mine") -> None:
        self.word, self.given = word, []

    def save_assets(self, folder: Path) -> None:
        (folder / "word").write_text(self.word)

    def load_assets(self, folder: Path) -> None:
        self.given.append(folder)
        self.word = (folder / "word").read_text()


@pytest.fixture
def open_run(toy, tmp_path):
    def run(name: str, *, resume: bool = False) -> RunDirectory:
        return RunDirectory(tmp_path / name, build_recipe(RECIPE).resolve(), {}, resume=resume)

    return run


def trainer(start_from: str | None = None) -> SimpleNamespace:
    return SimpleNamespace(loop=SimpleNamespace(start_from=start_from))


def test_they_are_written_once_and_handed_on(open_run, tmp_path):
    take_assets(Keeping(), trainer(), open_run("first"))
    (tmp_path / "first" / "recipe.toml").touch()
    task = Keeping("another")
    take_assets(task, trainer(str(tmp_path / "first")), open_run("second"))
    assert task.given == [tmp_path / "first" / "model"]
    assert (tmp_path / "second" / "model" / "word").read_text() == "mine"
    take_assets(Keeping("later"), trainer(), open_run("second", resume=True))
    assert (tmp_path / "second" / "model" / "word").read_text() == "mine"
    assert [path.name for path in (tmp_path / "second").iterdir()] == ["model"]


def test_a_run_that_goes_on_takes_its_own_wherever_it_started(open_run, tmp_path):
    take_assets(Keeping(), trainer(), open_run("run"))
    (tmp_path / "run" / "checkpoints" / "step-000003").mkdir(parents=True)
    task = Keeping("another")
    take_assets(task, trainer(str(tmp_path / "gone")), open_run("run", resume=True))
    assert task.given == [tmp_path / "run" / "model"]


def test_tasks_without_any_train_as_ever(open_run, tmp_path):
    take_assets(object(), trainer(), open_run("run"))
    assert not (tmp_path / "run").exists()


def test_a_run_that_cannot_keep_them_ends_before_it_is_trained(open_run, tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(GraftworkError, match="run/model cannot be written, and the model could not be used"):
        take_assets(Keeping(), trainer(), open_run("run"))


def test_a_trainer_that_knows_of_no_other_weights_is_not_for_a_later_stage(open_run, tmp_path):
    run = open_run("run")
    run.start_from = str(tmp_path / "stage before")
    with pytest.raises(GraftworkError, match="SimpleNamespace cannot start from the weights of the stage"):
        take_assets(object(), SimpleNamespace(), run)
