"""Objects that are told of a training, by a recipe's name and from Python."""

from __future__ import annotations

import pytest
import torch

from graftwork import GraftworkError
from graftwork_trainer import train as train_in_python


class Watcher:
    """Notes what it is told, and draws and computes as somebody might."""

    def __init__(self):
        self.seen = []

    def note(self, event, moment):
        torch.rand(3)
        output = moment.model(torch.ones(1, 4))
        assert not output.requires_grad
        metrics = [name for name in ("train/loss", "validation/loss") if name in moment.metrics]
        self.seen.append((event, moment.step, moment.model.training, metrics, moment.rank))

    def on_step(self, moment):
        self.note("step", moment)

    def on_evaluation(self, moment):
        self.note("evaluation", moment)

    def on_end(self, moment):
        self.note("end", moment)
        assert (moment.run / "result.json").exists()


SECTIONS = {
    "task": {"name": "regression"},
    "optimizer": {"name": "adamw"},
    "trainer": {
        "name": "standard",
        "steps": 4,
        "log_every": 2,
        "evaluate_every": 3,
        "checkpoint_every": 2,
        "device": "cpu",
    },
}


def test_an_object_is_told_of_steps_evaluations_and_the_end_and_changes_nothing(
    toy, assert_same_end, tmp_path
):
    watcher = Watcher()
    train_in_python(SECTIONS, tmp_path / "watched", callbacks=[watcher], quiet=True)
    train_in_python(SECTIONS, tmp_path / "alone", quiet=True)
    assert_same_end(tmp_path / "alone", tmp_path / "watched")
    logged, evaluated = ["train/loss"], ["validation/loss"]
    assert watcher.seen == [
        ("step", 1, True, [], 0),
        ("step", 2, True, logged, 0),
        ("evaluation", 3, False, evaluated, 0),
        ("step", 3, True, logged, 0),
        ("evaluation", 4, False, evaluated, 0),
        ("step", 4, True, logged, 0),
        ("end", 4, False, evaluated, 0),
    ]


def test_a_recipe_names_callbacks_with_options_and_a_resumed_run_may_have_others(train, tmp_path):
    told = tmp_path / "told.txt"
    one = f'{{name = "telling", path = "{told}", word = "first"}}'
    other = f'{{name = "telling", path = "{told}", word = "second"}}'
    train(f"trainer.callbacks=[{one}]", "trainer.steps=2")
    train(f"trainer.callbacks=[{one}, {other}]", "trainer.steps=4", resume=True)
    assert told.read_text().split() == ["first-2", "first-4", "second-4"]


@pytest.mark.parametrize("event", ["on_step", "on_evaluation", "on_end"])
def test_a_callback_that_fails_ends_the_training_with_one_sentence_that_names_it(toy, tmp_path, event):
    def fail(self, moment):
        raise KeyError("no such layer")

    failing = type("Failing", (), {event: fail})()
    step = 1 if event == "on_step" else 3 if event == "on_evaluation" else 4
    with pytest.raises(GraftworkError) as failed:
        train_in_python(SECTIONS, tmp_path / "run", callbacks=[failing], quiet=True)
    told = f"callback Failing, {event} of step {step}: KeyError: 'no such layer' ("
    assert str(failed.value).startswith(told)
    assert str(failed.value).endswith(f"; the traceback is in {tmp_path / 'run' / 'traceback.txt'}")
    assert "in fail" in (tmp_path / "run" / "traceback.txt").read_text()


def test_what_is_no_callback_is_refused_before_training(toy, tmp_path):
    with pytest.raises(
        GraftworkError, match=r"callbacks: builtins\.print lacks on_step or on_evaluation or on"
    ):
        train_in_python(SECTIONS, tmp_path / "run", callbacks=[print], quiet=True)
    assert not (tmp_path / "run").exists()


def test_stages_tell_the_same_objects(toy, tmp_path):
    watcher = Watcher()
    stages = [{"name": "first", "trainer": {"steps": 1}}, {"name": "second", "trainer": {"steps": 2}}]
    train_in_python({**SECTIONS, "stages": stages}, tmp_path / "run", callbacks=[watcher], quiet=True)
    assert [(event, step) for event, step, *_ in watcher.seen if event != "evaluation"] == [
        ("step", 1),
        ("end", 1),
        ("step", 1),
        ("step", 2),
        ("end", 2),
    ]
