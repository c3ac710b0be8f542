"""What a run says of itself when its training failed, and what the user sees."""

from __future__ import annotations

import json
import sys
from itertools import cycle, islice

import pytest
import torch

from graftwork import GraftworkError, build_recipe
from graftwork.cli import main
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
    told = f"task/toy:regression, {method}: ValueError: no luck at all ("
    assert result["reason"].startswith(told)
    assert raised.__notes__[0].startswith(told)


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
    assert str(raised).startswith(
        f"out of memory in task/toy:regression, loss: {error}; take a smaller batch"
    )
    assert (result["status"], result["reason"]) == ("failed", str(raised))


@pytest.mark.parametrize("status", [0, None, "no licence"])
def test_a_task_that_leaves_has_failed(failed, status):
    raised, result = failed(SystemExit(status))
    assert isinstance(raised, GraftworkError)
    assert str(raised).startswith("task/toy:regression, loss: SystemExit")
    assert result["status"] == "failed"
    assert str(raised).startswith(f"{result['reason']}; the traceback is in ")


def test_an_error_of_the_system_within_a_task_is_not_called_one_of_the_run(failed):
    error = ConnectionResetError(104, "Connection reset by peer")
    raised, result = failed(error, "batches")
    assert raised is error
    assert result["reason"].startswith("task/toy:regression, batches: ConnectionResetError: ")


def test_ended_at_once_is_no_failure(failed):
    raised, result = failed(KeyboardInterrupt())
    assert isinstance(raised, KeyboardInterrupt)
    assert result["status"] == "interrupted"


FAULTY = """
[task]
name = "faulty"
[model]
name = "faulty"
[optimizer]
name = "faulty"
[trainer]
name = "{trainer}"
{options}
"""
OPTIONS = """
steps = 2
device = "cpu"
callbacks = ["faulty"]
trackers = ["faulty"]
"""
PLACES = {
    "task": "__init__ save_assets build_model parameter_groups facts batches loss evaluate artefacts predict",
    "model": "__init__ forward",
    "optimizer": "__init__ step state_dict",
    "trainer": "__init__ fit",
    "callback": "__init__ on_step on_end",
    "tracker": "__init__",
}
ERRORS = (
    KeyError("x"),
    TypeError("of another\ntype"),
    RuntimeError("it does not run"),
    NotImplementedError(),
    ValueError("too many values to unpack"),
    RecursionError("maximum recursion depth exceeded"),
    AssertionError(),
    OSError(5, "Input/output error"),
    SystemExit(0),
    type("OfAPlugin", (BaseException,), {})("no such thing"),
)
SPOTS = [(kind, method) for kind, methods in PLACES.items() for method in methods.split()]
FAULTS = list(zip(SPOTS * 2, islice(cycle(ERRORS), 2 * len(SPOTS)), strict=True))


@pytest.fixture
def graftwork(toy, tmp_path, monkeypatch, capsys):
    """Run a command in the folder of the faulty recipe; return its exit code and what it says last."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRAFTWORK_DEBUG", raising=False)
    (tmp_path / "faulty.toml").write_text(FAULTY.format(trainer="standard", options=OPTIONS))
    (tmp_path / "own.toml").write_text(FAULTY.format(trainer="faulty", options=""))
    (tmp_path / "inputs.jsonl").write_text('{"a": 1}\n')

    def run(*arguments):
        code = main(arguments)
        told = capsys.readouterr().err
        assert "Traceback" not in told
        return code, told.strip().splitlines()[-1] if told.strip() else ""

    return run


@pytest.mark.parametrize(
    ("spot", "error"), FAULTS, ids=[f"{'-'.join(spot)}-{type(error).__name__}" for spot, error in FAULTS]
)
def test_a_fault_of_a_plugin_is_one_sentence_with_component_file_and_line(
    graftwork, monkeypatch, tmp_path, spot, error
):
    from graftwork_toy import faulty

    kind, method = spot
    if method == "predict":
        assert graftwork("train", "faulty.toml", "--out", "run", "--no-report")[0] == 0
    monkeypatch.setattr(faulty, "WHERE", spot)
    monkeypatch.setattr(faulty, "ERROR", error)
    if method == "predict":
        code, told = graftwork("predict", "run", "inputs.jsonl", "--quiet")
    else:
        recipe = "own.toml" if kind == "trainer" else "faulty.toml"
        code, told = graftwork("train", recipe, "--out", "run", "--quiet", "--no-report")
    spared = method == "artefacts" and isinstance(error, Exception)
    assert code == (0 if spared else 2)
    assert told.startswith("graftwork: ")
    if isinstance(error, ValueError | SystemExit) and method == "__init__":  # may be of an option
        assert f"{kind}/faulty: " in told or f"{kind}/toy:faulty: " in told
        return
    if method == "predict" and isinstance(error, Exception):
        assert "inputs.jsonl" in told or "task/toy:faulty, predict" in told
        return
    place = "" if method == "__init__" else f", {method}"
    assert f"{kind}/toy:faulty{place}: " in told or f"callback faulty{place} of step " in told
    assert "faulty.py:" in told
    assert type(error).__name__ in told
    if (tmp_path / "run" / "traceback.txt").exists():
        assert "; the traceback is in run/traceback.txt" in told
        assert "in reach" in (tmp_path / "run" / "traceback.txt").read_text()
    elif not spared:
        assert told.endswith("; GRAFTWORK_DEBUG=1 shows the traceback")


@pytest.mark.parametrize("kind", PLACES)
def test_what_cannot_be_imported_is_named(graftwork, kind):
    monkeypatched = sys.modules.pop("graftwork_toy.broken", None)
    assert monkeypatched is None
    key = {"callback": 'trainer.callbacks=["broken"]', "tracker": 'trainer.trackers=["broken"]'}.get(
        kind, f"{kind}.name=broken"
    )
    code, told = graftwork("train", "faulty.toml", "--set", key)
    assert code == 2
    assert f"{kind}/" in told
    assert "graftwork_toy.broken:Nothing" in told
    assert "KeyError: 'a name that there is not'" in told


def test_a_value_error_about_an_option_is_told_by_its_key(graftwork, monkeypatch, tmp_path):
    from graftwork_toy import faulty

    monkeypatch.setattr(faulty, "WHERE", ("task", "batches"))
    monkeypatch.setattr(faulty, "ERROR", ValueError("batch_size must be at most 3, got 4"))
    code, told = graftwork("train", "faulty.toml", "--out", "run", "--quiet", "--no-report")
    assert (code, told) == (2, "graftwork: error: task.batch_size must be at most 3, got 4")
    assert not (tmp_path / "run" / "traceback.txt").exists()


@pytest.mark.parametrize("spot", [("task", "__init__"), ("model", "forward"), ("optimizer", "state_dict")])
def test_from_python_the_exception_itself_comes_out_with_the_same_sentence(graftwork, monkeypatch, spot):
    from graftwork_toy import faulty

    monkeypatch.setattr(faulty, "WHERE", spot)
    monkeypatch.setattr(faulty, "ERROR", KeyError("x"))
    _, told = graftwork("train", "faulty.toml", "--out", "run", "--quiet", "--no-report")
    with pytest.raises(KeyError, match="x") as raised:
        train("faulty.toml", "other", quiet=True)
    (note,) = raised.value.__notes__
    assert note.partition("; ")[0] == told.removeprefix("graftwork: error: ").partition("; ")[0]


def test_objects_of_python_are_named_as_components(toy, tmp_path):
    class Stubborn(torch.optim.SGD):
        def step(self):
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no") as raised:
        train({"task": {"name": "regression"}, "trainer": SECTIONS["trainer"]}, tmp_path / "run",
              optimizer=Stubborn, quiet=True)  # fmt: skip
    assert raised.value.__notes__[0].startswith("optimizer/python:stubborn, step: RuntimeError: no (")


@pytest.mark.parametrize(
    ("method", "given", "told"),
    [
        (
            "loss",
            torch.zeros(()),
            r"must return a tensor of one number and a mapping of metrics, got Tensor\[\]",
        ),
        ("loss", (torch.zeros(3), {}), r"got Tensor\[3\], dict"),
        ("loss", (0.5, {}), r"got float, dict"),
        ("loss", (torch.zeros(()), {}), r"loss of Regression depends on no trained weight"),
        ("build_model", None, r"build_model of Regression must return a torch.nn.Module, got NoneType"),
    ],
)
def test_what_a_task_gives_back_is_checked(toy, monkeypatch, tmp_path, method, given, told):
    resolved = build_recipe(SECTIONS).resolve()
    monkeypatch.setattr(f"graftwork_toy.tasks.Regression.{method}", lambda self, *arguments: given)
    with pytest.raises(GraftworkError, match=told):
        train(resolved, tmp_path / "run", quiet=True)
