"""The toy plugin, and ways of training with it in this process and in others."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# A process that is forked has none of the threads of this one, and would wait for them. See forked.py for why
# it is not torch that is told.
os.environ["OMP_NUM_THREADS"] = "1"

import torch

from graftwork import build_recipe, get_registry, parse_set
from graftwork.testing import heed_signals, write_plugin
from graftwork_trainer.checkpoint import open_checkpoint

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

# Options by which the toy task stops or goes wrong, and which change nothing else.
MISHAPS = ("ends_after", "infinite_from_batch", "kill_at_batch")


def pytest_configure() -> None:
    heed_signals()


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugins")
    write_plugin(folder, "toy", "").unlink()
    shutil.copytree(
        Path(__file__).parent / "toy", folder / "graftwork_toy", ignore=shutil.ignore_patterns("__pycache__")
    )
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
    task: Any
    optimizer: Any
    model: Any

    def lines(self) -> list[dict[str, Any]]:
        return _read_lines(self.run.directory)

    def result(self) -> dict[str, Any]:
        return json.loads((self.run.directory / "result.json").read_text())


def _read_lines(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def read_lines() -> Callable[[Path], list[dict[str, Any]]]:
    """The records of a run's metrics file."""
    return _read_lines


def _tensors(tree: Any, path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(tree, torch.Tensor):
        yield path, tree
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from _tensors(value, f"{path}.{key}")
    elif isinstance(tree, list | tuple):
        for index, value in enumerate(tree):
            yield from _tensors(value, f"{path}.{index}")


@pytest.fixture
def saved_bits() -> Callable[[Path], dict[str, torch.Tensor]]:
    """Every tensor of a run's newest checkpoint, by name, whatever number of ranks wrote it."""

    def read(directory: Path) -> dict[str, torch.Tensor]:
        checkpoint = open_checkpoint(max((directory / "checkpoints").iterdir()))
        values = checkpoint.part("model", "optimizer", "processes")
        return dict(_tensors(values))

    return read


@pytest.fixture
def assert_same_bits(saved_bits: Callable[[Path], dict[str, torch.Tensor]]) -> Callable[[Path, Path], None]:
    """Two runs whose newest checkpoints agree in every bit, generators included."""

    def compare(one: Path, other: Path) -> None:
        first, second = saved_bits(one), saved_bits(other)
        assert first.keys() == second.keys()
        assert len(first) > 8
        assert all(torch.equal(first[name], second[name]) for name in first)

    return compare


@pytest.fixture
def assert_same_end(assert_same_bits: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
    """Two runs that agree in every bit and recorded the same losses on the way."""

    def losses(run: Path) -> list[tuple[int, float]]:
        return [(line["step"], line["train/loss"]) for line in _read_lines(run) if "train/loss" in line]

    def compare(one: Path, other: Path) -> None:
        assert_same_bits(one, other)
        assert losses(one) == losses(other)

    return compare


@pytest.fixture
def train(toy: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trained]:
    """Train the toy recipe with some settings and return what is left of it."""

    def run(
        *settings: str, directory: str = "run", resume: bool = False, allow: tuple[str, ...] = ()
    ) -> Trained:
        import tomllib

        from graftwork_trainer import loop
        from graftwork_trainer.run_directory import RunDirectory

        seen: dict[str, Any] = {}

        class Watched(loop.Loop):
            def run_to_end(self) -> None:
                seen.update(optimizer=self.procedure.optimizer, model=self.procedure.model)
                super().run_to_end()

        monkeypatch.setattr(loop, "Loop", Watched)
        recipe = build_recipe(tomllib.loads(RECIPE), overrides=[parse_set(s) for s in settings])
        resolved = recipe.resolve()
        trainer, task = resolved.trainer(), resolved.task()
        opened = RunDirectory(
            tmp_path / directory, resolved, {}, resume=resume, allow=(*MISHAPS, *allow), quiet=True
        )
        try:
            trainer.fit(task, resolved, opened)
        except Exception as error:
            opened.fail(str(error))
            raise
        return Trained(opened, trainer, task, **seen)

    return run


@pytest.fixture
def environment(toy_folder: Path) -> dict[str, str]:
    """The variables of a process that has the toy plugin and the trainer's own, and no others."""
    return {
        **os.environ,
        "PYTHONPATH": str(toy_folder),
        "GRAFTWORK_PLUGINS": "toy,trainer",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "80",
    }


@pytest.fixture
def launch(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start ``graftwork`` in another process, under ``launcher`` where one is given, with the recipe at
    hand."""
    (tmp_path / "toy.toml").write_text(RECIPE)
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *launcher, "-m", "graftwork", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=environment,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


class Forked:
    """A command that forked.py was asked for; what ``subprocess.Popen`` offers of it."""

    returncode: int | None = None

    def __init__(
        self,
        forking: socket.socket,
        arguments: Sequence[str],
        folder: Path,
        environment: dict[str, str],
        ranks: int,
    ) -> None:
        self._answer, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._streams = [tempfile.TemporaryFile("w+") for _ in range(2)]  # noqa: SIM115 - closed by kill
        asked = {"arguments": arguments, "folder": str(folder), "environment": environment, "ranks": ranks}
        with theirs:
            descriptors = [*(stream.fileno() for stream in self._streams), theirs.fileno()]
            socket.send_fds(forking, [json.dumps(asked).encode()], descriptors)
        self._group = int(self._answer.recv(20))

    def wait(self, timeout: float) -> int:
        if self.returncode is None:
            self._answer.settimeout(timeout)
            self.returncode = int(self._answer.recv(20) or -signal.SIGKILL)
        return self.returncode

    def poll(self) -> int | None:
        with contextlib.suppress(BlockingIOError):
            self.wait(0)
        return self.returncode

    def communicate(self, timeout: float = 60) -> tuple[str, str]:
        self.wait(timeout)
        for stream in self._streams:
            stream.seek(0)
        return self._streams[0].read(), self._streams[1].read()

    def kill(self) -> None:
        """End it and its processes, and keep nothing of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._group, signal.SIGKILL)
        for opened in (self._answer, *self._streams):
            opened.close()


@pytest.fixture(scope="session")
def fork() -> Iterator[Callable[..., Forked]]:
    """Start ``graftwork`` in a process, or in several ranks, forked from one that has imported torch."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    arguments = [sys.executable, str(Path(__file__).parent / "forked.py"), str(theirs.fileno())]
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(arguments: Sequence[str], folder: Path, environment: dict[str, str], ranks: int = 1) -> Forked:
        return Forked(ours, arguments, folder, environment, ranks)

    with subprocess.Popen(
        arguments, pass_fds=[theirs.fileno()], env=variables, start_new_session=True
    ) as process:
        theirs.close()
        yield start
        ours.close()
        process.wait()


@pytest.fixture
def command(
    launch: Callable[..., subprocess.Popen[str]],
    environment: dict[str, str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``graftwork`` in another process to its end, or in several ranks.

    The processes are forked, which saves the seconds that torch takes, unless there is a launcher; that of
    Python alone is ().
    """

    def run(
        *arguments: str, ranks: int = 1, launcher: tuple[str, ...] | None = None
    ) -> subprocess.CompletedProcess[str]:
        process: Forked | subprocess.Popen[str]
        if launcher is None:
            process = request.getfixturevalue("fork")(arguments, tmp_path, environment, ranks)
        else:
            process = launch(*arguments, launcher=launcher)
        try:
            stdout, stderr = process.communicate(timeout=180)
        finally:
            process.kill()
        assert process.returncode is not None
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)

    return run
