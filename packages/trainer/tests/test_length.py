"""Trainings by epochs of the data and by time, in this process."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest

from graftwork import GraftworkError, build_recipe
from graftwork_trainer import run_directory
from graftwork_trainer.dry_run import describe
from graftwork_trainer.options import GradientOptions, LoopOptions
from graftwork_trainer.schedule import lr_factor
from graftwork_trainer.verification import verify_run

EPOCHS = ("task.name=sampled", "task.dropout=0", "trainer.steps=none", "trainer.schedule=linear")


def rates(trained):
    return {line["step"]: line["train/learning_rate"] for line in trained.lines() if "train/loss" in line}


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        (("trainer.epochs=2",), 19),  # 74 samples by fours
        (("trainer.epochs=2", "trainer.accumulate=2"), 10),
        (("trainer.epochs=0.5",), 5),
        (("trainer.epochs=2", "task.kind=stateful"), 19),
        (("trainer.epochs=2", "task.name=loader"), 19),
        (("trainer.epochs=2", "task.name=loader", "task.order=repeated"), 20),  # each of 10 batches
    ],
)
def test_epochs_are_as_many_steps_as_the_data_make_of_them(train, capsys, settings, steps):
    trained = train(*EPOCHS, *settings)
    assert (trained.result()["status"], trained.result()["steps"]) == ("finished", steps)
    assert rates(trained)[steps] == pytest.approx(0.01 * 0.1)
    assert f"end with step {steps}\n" in capsys.readouterr().err


def test_what_is_left_of_the_epochs_is_trained_in_steps_of_another_size(train):
    train(*EPOCHS, "trainer.epochs=1")  # 10 steps of 4 samples
    longer = ("trainer.accumulate=2", "trainer.epochs=4", "trainer.log_every=1")
    trained = train(*EPOCHS, *longer, resume=True, allow=("accumulate",))
    # 40 of 148 samples were taken, which are 5 of 19 steps of 8.
    assert trained.result()["steps"] == 24
    factor = lr_factor("linear", steps=19, warmup_steps=0, final_fraction=0.1)
    taken = {step: rate for step, rate in rates(trained).items() if step > 10}
    assert taken == pytest.approx({step: 0.01 * factor(step - 6) for step in range(11, 25)})


def test_fewer_epochs_than_were_trained_are_refused(train):
    train(*EPOCHS, "trainer.epochs=2")
    with pytest.raises(GraftworkError, match=r"trainer\.epochs is 1, and 2\.0\d* are taken already"):
        train(*EPOCHS, "trainer.epochs=1", resume=True)


@pytest.mark.parametrize(
    "settings", [("task.name=regression",), ("task.name=loader", "task.kind=iterated"), ("task.name=rows",)]
)
def test_data_of_which_nobody_knows_how_many_they_are_have_no_epochs(train, settings):
    with pytest.raises(GraftworkError, match=r"trainer\.epochs is 3, and the task's training batches do not"):
        train("trainer.steps=none", "trainer.epochs=3", *settings)


def test_an_optimizer_is_told_how_many_steps_the_epochs_are(train, toy):
    settings = (*EPOCHS, "trainer.epochs=2", "trainer.clip_norm=none", "optimizer.name=early")
    assert train(*settings).optimizer.total_steps == 19


def test_steps_and_epochs_are_not_both_given():
    with pytest.raises(ValueError, match="epochs = 2 and steps = 9 both say how long to train"):
        GradientOptions(steps=9, epochs=2)


@pytest.mark.parametrize(("name", "value"), [("minutes", 0.0), ("minutes", -1.0), ("epochs", 0.0)])
def test_no_time_and_no_epochs_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be above 0, or none"):
        GradientOptions(**{name: value})


def test_nothing_else_is_a_thousand_steps():
    assert (LoopOptions().total_steps, LoopOptions(minutes=3).total_steps) == (1000, None)


@pytest.fixture
def ticking(monkeypatch):
    """Every look at a run's clock takes a second."""
    ticks = itertools.count()
    monkeypatch.setattr(run_directory, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))


def test_training_ends_with_its_time_evaluated_and_saved_and_the_rate_follows_it(train, ticking):
    trained = train("trainer.steps=none", "trainer.minutes=0.5", "trainer.log_every=1")
    result = trained.result()
    assert (result["status"], result["reason"]) == ("finished", "trainer.minutes = 0.5 are over")
    last = result["steps"]
    assert 5 < last < 30
    assert trained.run.checkpoints.steps()[-1] == last
    assert [line["step"] for line in trained.lines() if "validation/loss" in line][-1] == last
    over_time = list(rates(trained).values())
    assert over_time == sorted(over_time, reverse=True)
    assert 0.001 <= over_time[-1] < 0.003


def test_the_time_of_earlier_parts_counts(train, ticking):
    first = train("trainer.steps=none", "trainer.minutes=0.5").result()["steps"]
    again = train("trainer.steps=none", "trainer.minutes=1", resume=True)
    assert first < again.result()["steps"] < 2.6 * first
    assert again.result()["wall_seconds"] >= 60
    assert any("by the clock" in str(finding) for finding in verify_run(again.run.directory))
    done = train("trainer.steps=none", "trainer.minutes=1", resume=True)
    assert done.result() == again.result()


def test_of_time_and_steps_the_first_ends_a_training(train, ticking):
    result = train("trainer.minutes=1000").result()
    assert (result["steps"], result["reason"]) == (12, None)
    assert train("trainer.minutes=0.1", directory="short").result()["steps"] < 12


def test_a_dry_run_counts_the_steps_of_epochs(toy):
    sections = {
        "task": {"name": "sampled"},
        "optimizer": {"name": "early"},
        "trainer": {"name": "standard", "epochs": 2.0, "device": "cpu"},
    }
    assert "steps            19" in describe(build_recipe(sections).resolve())
