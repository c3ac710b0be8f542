"""What a run says of itself when its training failed, and what the user sees."""

from __future__ import annotations

import json

import pytest
import torch

from graftwork import GraftworkError, build_recipe
from graftwork_trainer import train

SECTIONS = {
    "task": {"name": "regression"},
    "optimizer": {"name": "sgd"},
    "trainer": {"name": "standard", "steps": 2, "device": "cpu"},
}


@pytest.fixture
def failed(toy, monkeypatch, tmp_path):
    """Train a task of which a method raises; return the error and the run's result."""

    def run(error, method="loss"):
        resolved = build_recipe(SECTIONS).resolve()
        monkeypatch.setattr(f"graftwork_toy.tasks.Regression.{method}", failing(method, error))
        raised = None
        try:
            train(resolved, tmp_path / "run", quiet=True)
        except BaseException as caught:
            raised = caught
        return raised, json.loads((tmp_path / "run" / "result.json").read_text())

    return run


def failing(method, error):
    def fail(self, *arguments, **options):
        raise error

    fail.__code__ = fail.__code__.replace(co_name=method)
    return fail


@pytest.mark.parametrize("method", ["loss", "build_model", "evaluate"])
def test_a_mistake_of_a_task_keeps_its_traceback_and_is_told_with_its_place(failed, method):
    error = ValueError("no luck\nat all")
    raised, result = failed(error, method)
    assert raised is error
    assert result["status"] == "failed"
    assert result["reason"] == f"ValueError in the task's {method}: no luck"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("that was all"),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"),
    ],
)
def test_no_memory_is_one_sentence(failed, error):
    raised, result = failed(error)
    assert isinstance(raised, GraftworkError)
    assert str(raised).startswith(f"out of memory in the task's loss: {error}; take a smaller batch")
    assert (result["status"], result["reason"]) == ("failed", str(raised))


@pytest.mark.parametrize("status", [0, None, "no licence"])
def test_a_task_that_leaves_has_failed(failed, status):
    raised, result = failed(SystemExit(status))
    assert isinstance(raised, GraftworkError)
    assert str(raised).startswith("SystemExit in the task's loss: ")
    assert (result["status"], result["reason"]) == ("failed", str(raised))


def test_an_error_of_the_system_within_a_task_is_not_called_one_of_the_run(failed):
    error = ConnectionResetError(104, "Connection reset by peer")
    raised, result = failed(error, "batches")
    assert raised is error
    assert result["reason"].startswith("ConnectionResetError in the task's batches: ")


def test_ended_at_once_is_no_failure(failed):
    raised, result = failed(KeyboardInterrupt())
    assert isinstance(raised, KeyboardInterrupt)
    assert result["status"] == "interrupted"
