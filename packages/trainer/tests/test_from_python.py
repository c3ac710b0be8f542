"""Training from Python: objects in place of names, and a process that goes on afterwards as it was.

Reached from here: ``given.py``, ``untouched.py``.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import random
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributed import TCPStore

import graftwork_trainer
from graftwork import Choice, GraftworkError, Interrupted, build_recipe, get_registry, load_recipe
from graftwork.cli import main
from graftwork_trainer.lock import RunLock

RECIPE = {
    "task": {"name": "regression", "batch_size": 4},
    "optimizer": {"name": "adamw", "lr": 0.01},
    "trainer": {
        "steps": 6,
        "log_every": 1,
        "evaluate_every": 3,
        "checkpoint_every": 2,
        "device": "cpu",
        "timeout_seconds": 30.0,
    },
}
# With objects in the place of task and optimizer.
OPTIONS = {section: {**table} for section, table in RECIPE.items()}
del OPTIONS["task"]["name"], OPTIONS["optimizer"]["name"]


class Signs(torch.optim.Optimizer):
    """Moves by the sign of the gradient."""

    def __init__(self, params, lr: float = 0.1, *, decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr})
        self.decay = decay

    @torch.no_grad()
    def step(self):
        for parameter in self.param_groups[0]["params"]:
            parameter.mul_(1 - self.decay).sub_(parameter.grad.sign(), alpha=self.param_groups[0]["lr"])


@pytest.fixture(autouse=True)
def here(toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def regression():
    from graftwork_toy.tasks import Regression

    return Regression


def weights(trained):
    return nn.utils.parameters_to_vector(trained.model.parameters())


def train(recipe=OPTIONS, directory=None, **given):
    return graftwork_trainer.train(recipe, directory, quiet=True, **given)


def test_a_training_returns_its_run_its_model_and_its_metrics():
    trained = train(RECIPE)
    result = json.loads((trained.run / "result.json").read_text())
    assert (trained.run.parent, result["status"]) == (Path("runs"), "finished")
    assert trained.metrics == result["metrics"]
    assert list(trained.metrics) == ["validation/loss"]
    assert not trained.model.training
    assert all(weight.grad is None for weight in trained.model.parameters())


def test_a_recipe_may_be_given_in_any_form():
    path = Path("mine.toml")
    path.write_text(build_recipe(RECIPE).to_toml())
    of_numpy = {**RECIPE, "trainer": {**RECIPE["trainer"], "steps": np.int64(6), "start_from": None}}
    forms = [
        RECIPE,
        path,
        "mine.toml",
        load_recipe("mine.toml"),
        load_recipe("mine.toml").resolve(),
        of_numpy,
    ]
    first, *others = [weights(train(form)) for form in forms]
    assert all(torch.equal(first, other) for other in others)


def test_objects_take_the_place_of_names(regression):
    named = train(RECIPE)
    given = train(OPTIONS, "given", task=regression, optimizer=torch.optim.AdamW)
    assert torch.equal(weights(named), weights(given))
    over_names = train(RECIPE, task=regression, optimizer=torch.optim.AdamW)
    assert torch.equal(weights(named), weights(over_names))
    assert '[optimizer]\nname = "python:adam-w"\nlr = 0.01\n' in (given.run / "recipe.toml").read_text()
    environment = json.loads((given.run / "environment.json").read_text())
    assert environment["python_objects"] == {
        "task/python:regression": "graftwork_toy.tasks.Regression",
        "optimizer/python:adam-w": "torch.optim.adamw.AdamW",
    }
    assert "python" not in environment["packages"]
    assert "python" not in [plugin.name for plugin in get_registry().plugins]


def test_functions_partials_and_built_tasks_are_objects_too(regression):
    def make_signs(params, lr: float = 0.1, decay: float = 0.5):
        return Signs(params, lr, decay=decay)

    def of(optimizer, **table):
        options = {**OPTIONS, "task": {}, "optimizer": {"lr": 0.01, **table}}
        return weights(train(options, task=regression(batch_size=4), optimizer=optimizer))

    expected = of(Signs, decay=0.5)
    assert torch.equal(of(make_signs), expected)
    assert torch.equal(of(functools.partial(Signs, decay=0.5)), expected)
    assert torch.equal(of(lambda params, lr: Signs(params, lr, decay=0.5)), expected)
    assert not torch.equal(of(Signs), expected)


class Fit:
    """Fits a model to a constant."""

    def __init__(self, *, model: Choice) -> None:
        self.model = model

    def build_model(self):
        return self.model(features=3)

    def batches(self, split, *, rank, world_size, seed):
        return iter(lambda: torch.ones(2, 3), None)

    def loss(self, model, batch):
        return (model(batch) - 1).square().mean(), {}

    def evaluate(self, model):
        return {"loss": float(self.loss(model, torch.ones(2, 3))[0])}


def test_a_model_that_is_built_is_trained_itself_and_a_class_is_built():
    def linear(features, bias: bool = True):
        return nn.Linear(features, 1, bias=bias)

    options = {"trainer": OPTIONS["trainer"], "optimizer": {}}
    built = nn.Linear(3, 1)
    before = built.weight.clone()
    trained = train(options, task=Fit, model=built, optimizer=Signs)
    assert trained.model is built
    assert not torch.equal(built.weight, before)
    without = train({**options, "model": {"bias": False}}, task=Fit, model=linear, optimizer=Signs)
    assert without.model.bias is None


def test_it_resumes_with_the_same_objects_to_the_bit(regression, assert_same_end):
    class Stopping(regression):
        def loss(self, model, batch):
            self.seen = getattr(self, "seen", 0) + 1
            if self.seen == 3:
                os.kill(os.getpid(), signal.SIGINT)
            return super().loss(model, batch)

    Stopping.__name__ = "Regression"
    options = {**OPTIONS, "task": {}}
    with pytest.raises(Interrupted, match=r"stopped at step 3 and .*, or in Python with resume=True"):
        train(options, "stopped", task=Stopping(), optimizer=torch.optim.AdamW)
    resumed = train(options, "stopped", task=regression(), optimizer=torch.optim.AdamW, resume=True)
    whole = train(options, "whole", task=regression(), optimizer=torch.optim.AdamW)
    assert_same_end(resumed.run, whole.run)
    assert torch.equal(weights(resumed), weights(whole))


def test_at_the_command_line_a_run_says_which_objects_it_needs(regression, capsys):
    run = train(OPTIONS, "run", task=regression, optimizer=Signs).run
    assert main(["train", "--resume", str(run)]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "it was trained with task/python:regression (graftwork_toy.tasks.Regression), which is not" in told
    assert "go on in Python: graftwork_trainer.train(..., resume=True) with the same objects" in told
    assert main(["verify", str(run)]) == 0
    assert "resumes exactly here: no, because run: it was trained with" in capsys.readouterr().out
    with pytest.raises(GraftworkError, match="run: it was trained with task/python:regression"):
        train(run / "recipe.toml", run, resume=True)


def test_one_name_may_be_allowed_as_it_is(regression):
    given = {"task": regression, "resume": True}
    run = train(OPTIONS, "run", task=regression, optimizer=torch.optim.AdamW).run
    with pytest.raises(GraftworkError, match=r"optimizer.name was .* by --allow optimizer"):
        train({**OPTIONS, "optimizer": {}}, run, optimizer=Signs, allow="another optimizer", **given)
    train({**OPTIONS, "optimizer": {}}, run, optimizer=Signs, allow="optimizer", **given)


def test_the_process_is_afterwards_what_it_was():
    def state():
        drawn = (torch.rand(1).item(), float(np.random.rand()), random.random())
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        algorithms = torch.are_deterministic_algorithms_enabled()
        return drawn, handlers, algorithms, os.environ.get("CUBLAS_WORKSPACE_CONFIG"), Path.cwd()

    def seed():
        torch.manual_seed(5), np.random.seed(5), random.seed(5)

    seed()
    before = state()
    seed()
    train(RECIPE)
    assert state() == before
    seed()
    with pytest.raises(GraftworkError, match="batches ended"):
        train({**RECIPE, "task": {"name": "regression", "ends_after": 3}})
    assert state() == before


def test_it_trains_in_another_thread_and_beside_a_running_event_loop(regression):
    expected = weights(train(RECIPE))
    trained = []
    thread = threading.Thread(target=lambda: trained.append(train(OPTIONS, task=regression, optimizer=Signs)))
    thread.start()
    thread.join()

    async def in_a_loop():
        trained.append(train(RECIPE))
        trained.append(await asyncio.to_thread(train, RECIPE))

    asyncio.run(in_a_loop())
    assert len(trained) == 3
    assert all(torch.equal(weights(one), expected) for one in trained[1:])


def test_processes_of_one_launcher_train_several_times(assert_same_end):
    # As torchrun keeps it: for as long as the processes live, whatever they train.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    processes = []
    for rank in range(2):
        processes.append(os.fork())
        if not processes[-1]:
            where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "RANK": str(rank)}
            os.environ |= {**where, "WORLD_SIZE": "2", "TORCHELASTIC_USE_AGENT_STORE": "True"}
            code = 1
            try:
                for directory in ("first", "second"):
                    train(RECIPE, directory)
                code = 0
            finally:
                os._exit(code)
    assert [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes] == [0, 0]
    assert_same_end(Path("first"), Path("second"))


def test_a_directory_is_taken_as_at_the_command_line():
    train(RECIPE, "run")
    with pytest.raises(GraftworkError, match="run run: holds a run already"):
        train(RECIPE, "run")
    with pytest.raises(GraftworkError, match=r"must be a run's, with a recipe.toml in it; got none"):
        train(RECIPE, "none", resume=True)
    with pytest.raises(GraftworkError, match="directory: must name a directory"):
        train(RECIPE, "")
    with RunLock(Path("locked")), pytest.raises(GraftworkError, match="trains in it"):
        train(RECIPE, "locked")


class NoLoss:
    def build_model(self): ...
    def batches(self, split, *, rank, world_size, seed): ...
    def evaluate(self, model): ...


def test_what_is_no_recipe_is_told():
    with pytest.raises(GraftworkError, match=r"recipe: must be a name, .* got \['a'\]"):
        train(["a"])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"task": NoLoss()}, r"task=NoLoss\(...\): lacks loss; the contract of task is"),
        ({"task": NoLoss}, "task/no-loss: python:task lacks loss"),
        ({"optimizer": 3}, r"optimizer=int\(...\): lacks step, zero_grad"),
        ({"optimizer": Signs([nn.Parameter(torch.ones(1))])}, r"Signs\(...\): is over parameters already"),
        ({"optimizer": lambda params: Signs(params)}, "optimizer/lambda has no option 'lr'"),
        ({"model": nn.Linear(1, 1)}, r"\[model\] \(model=an object of .*\): nothing in this recipe uses it"),
    ],
)
def test_what_is_wrong_with_an_object_is_told_before_anything_is_made(given, sentence):
    with pytest.raises(GraftworkError, match=sentence):
        train(RECIPE, **given)
    assert not Path("runs").exists()
