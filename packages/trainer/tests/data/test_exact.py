"""A training on a dataset ends with the same bits, with any number of workers, at once or in parts.

Reached from here: ``data/seeding.py``.
"""

from __future__ import annotations

import signal

import pytest

from graftwork_trainer.data.order import EndlessOrder

KINDS = {
    "dataset": ["task.name=sampled"],
    "iterable with a state": ["task.name=sampled", "task.kind=stateful"],
    "iterable": ["task.name=sampled", "task.kind=iterated"],
    "shuffling DataLoader": ["task.name=loader"],
    "DataLoader in order": ["task.name=loader", "task.order=in order"],
    "DataLoader of an iterable": ["task.name=loader", "task.kind=iterated"],
}
# Twelve steps are more than an epoch of 37 samples; the seventh ends within one.
STEPS = [
    "trainer.schedule=constant",
    "trainer.log_every=1",
    "trainer.evaluate_every=0",
    "trainer.steps=12",
]


@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_workers_and_resuming_with_another_make_the_same_bits(
    train, tmp_path, assert_same_end, kind
):
    train(*STEPS, *KINDS[kind], directory="whole")
    for number, (before, after) in enumerate([(0, 4), (4, 1)]):
        parts = f"parts-{number}"
        train(*STEPS, *KINDS[kind], "trainer.steps=7", f"trainer.workers={before}", directory=parts)
        settings = [*STEPS, *KINDS[kind], f"trainer.workers={after}"]
        train(*settings, directory=parts, resume=True)
        assert_same_end(tmp_path / "whole", tmp_path / parts)


def test_what_samples_draw_at_random_is_trained_on(train, tmp_path, saved_bits):
    one = ["task.name=sampled", "task.dropout=0", "trainer.steps=3"]
    train(*one, directory="a")
    train(*one, "task.random=false", directory="b")
    first, other = (saved_bits(tmp_path / name)[".model.blocks.0.weight"] for name in "ab")
    assert not first.equal(other)


def test_a_dataloader_says_how_many_workers_unless_the_trainer_does(train, monkeypatch):
    from graftwork_trainer.data import workers

    counts = []
    monkeypatch.setattr(
        workers.Desks,
        "__init__",
        lambda self, count, begin=workers.Desks.__init__: counts.append(count) or begin(self, count),
    )
    train("task.name=loader", "task.loader_workers=2", "trainer.steps=1")
    train("task.name=loader", "task.loader_workers=2", "trainer.workers=1", "trainer.steps=1", directory="b")
    assert counts == [2, 2, 1, 1]  # for training and for the evaluation


def test_killed_at_the_command_line(launch, train, tmp_path, assert_same_bits):
    """By a worker, which is ahead of the checkpoint; the workers end with the training."""
    at_batch_11 = EndlessOrder(200, [0]).rows(40, 1).item()
    settings = ["task.name=sampled", "task.samples=200", f"task.mishap_at={at_batch_11}"]
    given = [*settings, "task.mishap=kills the training", "trainer.workers=2"]
    options = [option for setting in given for option in ("--set", setting)]
    process = launch("train", "toy.toml", "--no-report", *options, "--out", "run")
    process.communicate(timeout=120)  # which workers would hold up: they have the same standard output
    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / "run/checkpoints/step-000003").exists()
    train(*settings, "trainer.workers=2", resume=True, allow=("mishap",))
    train(*settings, directory="whole")
    assert_same_bits(tmp_path / "run", tmp_path / "whole")


def test_an_order_of_ones_own_is_told_to_be_inexact(train, capsys, tmp_path):
    train("task.name=loader", "task.order=repeated")
    told = "its batches come from a DataLoader in the order of its RandomSampler, which does not follow"
    assert capsys.readouterr().err.count(told) == 1


def test_batches_of_a_global_generator_are_told_once(train, capsys):
    train("task.name=augmented")
    assert capsys.readouterr().err.count("draw from a global generator") == 1
    train("task.name=regression", directory="other")
    assert "global generator" not in capsys.readouterr().err
