"""The toy plugin, and trainings of recipes in this process."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graftwork import build_recipe, get_registry, parse_set
from graftwork.testing import write_plugin
from graftwork_decentral.trainers.checkpoints import AgentCheckpoints
from graftwork_trainer.checkpoint import TrainingState, open_checkpoint

HERE = Path(__file__).parent
SAVED = (0, 1, 2, 5)
SHORT = {
    "trainer.device": "cpu",
    "trainer.log_every": 1,
    "trainer.evaluate_every": 0,
    "trainer.schedule": "constant",
    "trainer.timeout_seconds": 30.0,
}


@dataclass(frozen=True)
class Run:
    """What a training left."""

    folder: Path
    model: nn.Module

    @property
    def environment(self) -> dict[str, Any]:
        return json.loads((self.folder / "environment.json").read_text())

    @property
    def metrics(self) -> dict[str, float]:
        """Of the last evaluation."""
        return json.loads((self.folder / "result.json").read_text())["metrics"]

    def recorded(self, name: str) -> list[float]:
        lines = map(json.loads, (self.folder / "metrics.jsonl").read_text().splitlines())
        return [line[name] for line in lines if name in line]

    def weights(self) -> dict[str, Tensor]:
        return open_checkpoint(max((self.folder / "checkpoints").glob("step-*"))).part("model")["model"]


@pytest.fixture
def lines_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path / "plugins"
    folder.mkdir()
    write_plugin(folder, "lines", (HERE / "toy_plugin.py").read_text("utf-8"))
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    get_registry.cache_clear()
    yield
    sys.modules.pop("graftwork_lines", None)
    get_registry.cache_clear()


@pytest.fixture
def train(lines_plugin: None, tmp_path: Path) -> Callable[..., Run]:
    """Train a recipe with options laid over it."""
    from graftwork_trainer import train

    def run(recipe: Mapping[str, Any], name: str = "run", **options: Any) -> Run:
        short = {"trainer.device": "cpu", "trainer.log_every": 1, "trainer.evaluate_every": 0, **options}
        overrides = [
            parse_set(f"{key.replace('__', '.')}={str(value).lower() if isinstance(value, bool) else value}")
            for key, value in short.items()
        ]
        resolved = build_recipe(recipe, overrides=overrides).resolve()
        trained = train(resolved, tmp_path / name, quiet=True)
        return Run(trained.run, trained.model)

    return run


class Processes:
    """Trainings one after the other, their processes forked from one that has imported all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "plugins").mkdir()
        write_plugin(folder / "plugins", "lines", (HERE / "toy_plugin.py").read_text("utf-8"))
        self.scenarios: list[dict[str, Any]] = []

    def add(
        self, recipe: Mapping[str, Any], run: str, world: int, *, resume: bool = False, **more: Any
    ) -> None:
        options = {**SHORT, **more.pop("options", {})}
        plugins = str(self.folder / "plugins")
        self.scenarios.append(
            {
                "recipe": recipe,
                "run": str(self.folder / run),
                "world": world,
                "resume": resume,
                "plugins": plugins,
                "options": options,
                **more,
            }
        )

    def run(self) -> tuple[list[dict[str, list[int]]], str]:
        """The exit codes of every training, by process, and what all of them said."""
        (self.folder / "scenarios.json").write_text(json.dumps(self.scenarios))
        forked = HERE.parent / "communication" / "forked.py"
        command = [sys.executable, forked, HERE / "training_job.py", self.folder / "scenarios.json"]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert ran.returncode == 0, ran.stderr
        return [one["codes"] for one in json.loads(ran.stdout.splitlines()[-1])], ran.stderr


@pytest.fixture(scope="session")
def processes_in() -> type[Processes]:
    """Trainings of several processes, whose runs are in a folder."""
    return Processes


@pytest.fixture
def assert_resumes() -> Callable[[Callable[[], Any], int, Path], None]:
    """Assert that a procedure saved at several steps goes on from each to the bits of one not stopped.

    Takes what makes a procedure, how many steps it is to take, and a folder.
    """
    return _assert_resumes


def _assert_resumes(fresh: Callable[[], Any], steps: int, folder: Path) -> None:
    whole = fresh()
    whole.start(0)
    training = TrainingState(whole)
    checkpoints = AgentCheckpoints(folder, whole._communicator)
    checkpoints.keep = len(SAVED)
    losses = []
    for step in range(steps):
        if step in SAVED:
            checkpoints.save(step, training, {"position": step})
        losses.append(float(whole.step().loss))
    assert len(set(losses)) > steps // 2
    for step in reversed(SAVED):
        resumed = fresh()
        opened = AgentCheckpoints(folder, resumed._communicator).newest()
        assert opened is not None
        assert opened.step == step
        TrainingState(resumed).restore(opened)
        resumed.start(step)
        assert [float(resumed.step().loss) for _ in range(step, steps)] == losses[step:]
        assert_same(_everything(resumed), _everything(whole))
        opened.path.rename(folder / f"{step}.partial")


def _everything(procedure: Any) -> dict[str, Any]:
    return {
        "model": dict(procedure.model.state_dict()),
        "optimizer": procedure.optimizer.state_dict(),
        "own": procedure.state(),
    }


def assert_same(found: Any, wanted: Any, name: str = "") -> None:
    """Assert that nested values are equal, tensors bit for bit."""
    assert type(found) is type(wanted), name
    if isinstance(wanted, Tensor):
        assert found.dtype == wanted.dtype, name
        assert torch.equal(found, wanted), name
    elif isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), name
        for key in wanted:
            assert_same(found[key], wanted[key], f"{name}.{key}")
    elif isinstance(wanted, list | tuple):
        for index, pair in enumerate(zip(found, wanted, strict=True)):
            assert_same(*pair, f"{name}.{index}")
    else:
        assert found == wanted, name
