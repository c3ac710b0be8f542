"""The toy plugin, and ways of training with it in this process and in others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from graftwork import build_recipe, get_registry, parse_set
from graftwork.testing import write_plugin

RECIPE = """
[task]
name = "regression"
[optimizer]
name = "adamw"
lr = 0.01
[trainer]
name = "standard"
steps = 12
log_every = 2
evaluate_every = 4
checkpoint_every = 3
device = "cpu"
"""


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugins")
    write_plugin(folder, "toy", (Path(__file__).parent / "toy.py").read_text("utf-8"))
    return folder


@pytest.fixture
def toy(toy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The toy plugin and the trainer's own, and no others, in this process."""
    monkeypatch.syspath_prepend(str(toy_folder))
    monkeypatch.setenv("GRAFTWORK_PLUGINS", "toy,trainer")
    get_registry.cache_clear()
    yield
    get_registry.cache_clear()


@dataclass
class Trained:
    """A training that ended in this process."""

    run: Any
    trainer: Any
    optimizer: Any
    model: Any

    def lines(self) -> list[dict[str, Any]]:
        return read_lines(self.run.directory)

    def result(self) -> dict[str, Any]:
        return json.loads((self.run.directory / "result.json").read_text())


def read_lines(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def train(toy: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trained]:
    """Train the toy recipe with some settings and return what is left of it."""

    def run(*settings: str, directory: str = "run", resume: bool = False) -> Trained:
        import tomllib

        from graftwork_trainer import loop, standard
        from graftwork_trainer.run_directory import RunDirectory

        seen: dict[str, Any] = {}

        class Watched(loop.Training):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments)
                seen.update(optimizer=self.optimizer, model=self.plain)

        monkeypatch.setattr(standard, "Training", Watched)
        recipe = build_recipe(tomllib.loads(RECIPE), overrides=[parse_set(s) for s in settings])
        resolved = recipe.resolve()
        trainer, task = resolved.trainer(), resolved.task()
        opened = RunDirectory(tmp_path / directory, resolved, {}, resume=resume, quiet=True)
        try:
            trainer.fit(task, resolved, opened)
        except Exception as error:
            opened.fail(str(error))
            raise
        return Trained(opened, trainer, **seen)

    return run


@pytest.fixture
def command(toy_folder: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``graftwork`` in another process, started by ``launcher`` where one is given."""

    recipe = tmp_path / "toy.toml"
    recipe.write_text(RECIPE)

    def run(
        *arguments: str, launcher: tuple[str, ...] = (), timeout: float = 120, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(toy_folder),
            "GRAFTWORK_PLUGINS": "toy,trainer",
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "80",
        }
        return subprocess.run(
            [sys.executable, *launcher, "-m", "graftwork", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            timeout=timeout,
            check=False,
            **options,
        )

    return run


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
