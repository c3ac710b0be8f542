"""Worker processes that raise, die or hang end the training with one sentence; signals pass them by."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

import pytest
from torch.utils.data import dataloader

from graftwork import GraftworkError

SAMPLED = ["task.name=sampled", "trainer.evaluate_every=0", "trainer.checkpoint_every=0"]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("kind", "sample"), [("numbered", "sample 17"), ("iterated", "sample 17 in epoch 0")]
)
def test_a_sample_that_raises_is_named(train, workers, kind, sample):
    with pytest.raises(GraftworkError) as caught:
        train(*SAMPLED, f"task.kind={kind}", "task.mishap=raises", f"trainer.workers={workers}")
    told = str(caught.value)
    assert told.startswith(f"{sample} of the training data: ValueError: no such picture (sampled.py:")
    assert "in happen" in str(caught.value.__cause__) or isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("workers", [0, 1])
def test_samples_that_make_no_batch_are_named(train, workers):
    told = r"samples .* of the training data make no batch: RuntimeError: stack expects each tensor"
    with pytest.raises(GraftworkError, match=told):
        train(*SAMPLED, "task.mishap=longer", f"trainer.workers={workers}")


@pytest.mark.parametrize(
    ("mishap", "ended"),
    [
        (
            "killed",
            "was ended by signal 9 while it loaded sample 17 of the training data; where memory has run out",
        ),
        (
            "bus error",
            "was ended by signal 7 while it loaded sample 17 of the training data; where /dev/shm is full",
        ),
        ("exits", "ended with exit code 3 while it loaded sample 17 of the training data"),
    ],
)
def test_a_worker_that_dies_is_named_with_its_sample(train, mishap, ended):
    with pytest.raises(GraftworkError, match=rf"^worker process \d {ended}"):
        train(*SAMPLED, f"task.mishap={mishap}", "trainer.workers=2")
    assert not multiprocessing.active_children()


def test_one_that_dies_while_it_hands_over_a_batch_is_waited_for(train, monkeypatch):
    """Its side of a connection is closed a moment before it has ended."""

    def reset(loading, timeout):
        threading.Timer(0.2, loading._workers[0].kill).start()
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(dataloader._MultiProcessingDataLoaderIter, "_try_get_data", reset)
    with pytest.raises(GraftworkError, match=r"^worker process 0 was ended by signal 9"):
        train(*SAMPLED, "trainer.workers=1")
    assert not multiprocessing.active_children()


def test_a_worker_that_hangs_is_named_with_its_sample_and_ended(train):
    """One that is stopped heeds no other signal, and hands over no batch that it has made."""
    hung = r"has not answered for \d seconds while it loaded sample 17 of the training data; if that is"
    with pytest.raises(GraftworkError, match=hung):
        # Half of it is patience: starting a worker on a busy machine takes a second.
        train(*SAMPLED, "task.mishap=stopped", "trainer.workers=2", "trainer.timeout_seconds=8")
    assert not multiprocessing.active_children()


def test_a_sample_of_the_validation_data_is_named_too(train):
    with pytest.raises(
        GraftworkError, match=r"^sample 3 of the validation data: ValueError: no such picture"
    ):
        train(*SAMPLED, "task.mishap=raises", "task.mishap_at=3", "task.samples=3", "trainer.steps=1")


def test_an_epoch_without_a_sample(train):
    with pytest.raises(GraftworkError, match=r"^the training data are empty"):
        train(*SAMPLED, "task.samples=0")
    with pytest.raises(GraftworkError, match=r"^epoch 0 of the training data: it has no sample"):
        train(*SAMPLED, "task.samples=0", "task.kind=iterated", directory="other")


def test_a_signal_to_all_processes_saves_and_ends_in_one_sentence(launch, tmp_path):
    """Ctrl-C reaches the workers, too."""
    given = ["task.name=sampled", "trainer.workers=2", "trainer.steps=100000", "trainer.checkpoint_every=0"]
    options = [option for setting in given for option in ("--set", setting)]
    process = launch("train", "toy.toml", "--no-report", *options, "--out", "run")
    metrics = tmp_path / "run/metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("\n") > 3):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert "saved; continue with" in stderr
    assert "Traceback" not in stderr
