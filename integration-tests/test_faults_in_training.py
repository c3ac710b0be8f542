"""Trainings in which links fail, messages are compressed, and processes die: they end with a clear error, or
go on with those who are left."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from graftwork import GraftworkError, build_recipe, parse_set
from graftwork.testing import write_plugin

AGENTS = 6
PLUGIN = """
import os, signal, time
import torch
from torch import nn
from graftwork import Component, Kind, hookimpl

class Pull:
    '''Agent i is pulled to i; the minimizer of the mean over agents is the mean of their numbers.'''
    unit = "pulls"
    metric_directions = {"loss": "lower", "place": "higher"}

    def __init__(self, *, dies: int = -1, dies_at: int = 10, once: str = "", pause: float = 0.0) -> None:
        self.dies, self.dies_at, self.once, self.pause = dies, dies_at, once, pause

    def build_model(self):
        return nn.Linear(3, 1, bias=False).double().requires_grad_(True)

    def batches(self, split, *, rank, world_size, seed):
        step = 0
        while True:
            if rank == self.dies and step == self.dies_at and not (self.once and os.path.exists(self.once)):
                if self.once:
                    open(self.once, "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(self.pause)
            yield torch.tensor(float(rank), dtype=torch.float64)
            step += 1

    def loss(self, model, batch):
        return 0.5 * (model.weight - batch).square().sum(), {}

    def evaluate(self, model):
        return {"loss": float(model.weight.square().sum()), "place": float(model.weight.mean())}

@hookimpl
def graftwork_components():
    yield Component(Kind.TASK, "pull", "graftwork_pull:Pull", "agents pulled apart")
"""
RECIPE = """
[task]
name = "pull"
[optimizer]
name = "sgd"
lr = 0.2
[topology]
name = "ring"
lazy = true
[strategy]
name = "{strategy}"
[faults]
name = "standard"
timeout_seconds = 20.0
on_failure = "{on_failure}"
[trainer]
name = "decentralized"
agents = 6
steps = {steps}
schedule = "constant"
clip_norm = "none"
log_every = 7
evaluate_every = 20
checkpoint_every = 25
"""
LAUNCHER = ("-m", "graftwork_decentral.launch", "--processes", "3", "--", "-m", "graftwork")


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    write_plugin(folder, "pull", PLUGIN)
    return folder


def arguments_of(folder: Path, strategy: str, on_failure: str, *settings: str, steps: int) -> list[str]:
    """The command line of a training, whose recipe is left in a folder."""
    recipe = RECIPE.format(strategy=strategy, on_failure=on_failure, steps=steps)
    (folder / "pull.toml").write_text(recipe, "utf-8")
    pairs = [part for one in settings for part in ("--set", one)]
    return ["train", "pull.toml", "--no-report", "--quiet", "--out", "run", *pairs]


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_killed_process_ends_the_run_with_an_error_that_names_its_agent(
    plugin: Path, here: Any, tmp_path: Path
) -> None:
    """By the launcher and in processes of its own, as a user has them; the tests below fork."""
    dies = ("trainer.agents=3", "task.dies=2", "task.dies_at=30")
    arguments = arguments_of(tmp_path, "exact-diffusion", "stop", *dies, steps=120)
    started = time.monotonic()
    ended = here.command(*arguments, launcher=LAUNCHER, PYTHONPATH=str(plugin))
    assert ended.returncode != 0
    assert "agents 2 (process 2) do not answer at step" in ended.stderr
    assert "on_failure = 'continue'" in ended.stderr
    assert time.monotonic() - started < 60
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["status"] == "failed"
    assert "do not answer" in result["reason"]
    # What was computed before stays, and can be gone on with.
    assert (tmp_path / "run" / "checkpoints" / "step-000025").is_dir()


@pytest.mark.parametrize("strategy", ["exact-diffusion", "gt-atc"])
def test_survivors_go_on_to_their_own_minimizer(
    strategy: str, plugin: Path, forked: Callable[..., Any], tmp_path: Path
) -> None:
    arguments = arguments_of(tmp_path, strategy, "continue", "task.dies=4", "task.dies_at=30", steps=250)
    ended = forked(*arguments, processes=AGENTS, plugins=[plugin])
    assert ended.seconds < 60
    assert ended.codes == {agent: [-9 if agent == 4 else 0] for agent in range(AGENTS)}, ended.words
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["status"], result["steps"]) == ("finished", 250)
    last = [line for line in lines(tmp_path / "run") if "validation/place" in line][-1]
    # (0 + 1 + 2 + 3 + 5) / 5, and not the 2.5 of all six.
    assert last["validation/place"] == pytest.approx(2.2, abs=1e-6)
    # Five in a line mix slowly, and tracking twice as slowly; the mean is where it should be all the same.
    assert last["validation/worst_agent_place"] == pytest.approx(2.2, abs=0.02)
    living = [
        line["train/living_agents"] for line in lines(tmp_path / "run") if "train/living_agents" in line
    ]
    assert (living[0], living[-1]) == (6, 5)


def test_a_process_that_is_started_again_comes_back(
    plugin: Path, forked: Callable[..., Any], tmp_path: Path
) -> None:
    dies = ("task.dies=4", "task.dies_at=30", f"task.once={tmp_path / 'died-once'}", "task.pause=0.01")
    arguments = arguments_of(tmp_path, "exact-diffusion", "continue", *dies, steps=500)
    ended = forked(*arguments, processes=AGENTS, plugins=[plugin], restart=[4])
    assert ended.seconds < 60
    assert ended.codes == {agent: [-9, 0] if agent == 4 else [0] for agent in range(AGENTS)}, ended.words
    living = [
        line["train/living_agents"] for line in lines(tmp_path / "run") if "train/living_agents" in line
    ]
    assert (living[0], min(living), living[-1]) == (6, 5, 6)
    last = [line for line in lines(tmp_path / "run") if "validation/place" in line][-1]
    assert last["validation/place"] == pytest.approx(2.5, abs=1e-5)


@pytest.fixture
def train(
    plugin: Path, train_here: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Path]]:
    """Train in this process."""
    import sys
    import tomllib

    from graftwork import get_registry

    monkeypatch.syspath_prepend(str(plugin))
    get_registry.cache_clear()

    def run(directory: str, *settings: str, strategy: str = "exact-diffusion", resume: bool = False) -> Path:
        text = RECIPE.format(strategy=strategy, on_failure="stop", steps=100)
        overrides = [parse_set(one) for one in settings]
        resolved = build_recipe(tomllib.loads(text), overrides=overrides).resolve()
        return train_here(resolved, directory, resume=resume)

    yield run
    get_registry.cache_clear()
    sys.modules.pop("graftwork_pull", None)


def weights(run: Path) -> torch.Tensor:
    from graftwork_trainer.checkpoint import open_checkpoint

    model = open_checkpoint(max((run / "checkpoints").glob("step-*"))).part("model")["model"]
    return torch.stack([model[f"agent-{agent:04d}.weight"].flatten() for agent in range(AGENTS)])


def test_lost_links_do_not_bias(train: Callable[..., Path]) -> None:
    run = train("run", "trainer.steps=400", "faults.link_loss=0.3")
    assert torch.allclose(weights(run), torch.full((AGENTS, 3), 2.5, dtype=torch.float64), atol=1e-9)


def test_faults_with_which_a_strategy_diverges_are_refused(train: Callable[..., Path]) -> None:
    with pytest.raises(GraftworkError, match=r"faults\.compressor = 'sign'"):
        train("run", "faults.compressor=sign")
    with pytest.raises(GraftworkError, match="delay"):
        train("run", "faults.delay=3")
    with pytest.raises(GraftworkError, match=r"link_loss must be at least 0 and below 1.*got 1\.5"):
        train("run", "faults.link_loss=1.5")
