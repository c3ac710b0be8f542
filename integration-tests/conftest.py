"""Text to train on, ``graftwork`` in other processes, wheels built from the tree and fresh environments."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
BYTECODE = ROOT / ".ci" / "bytecode.py"
UV = os.environ.get("UV") or shutil.which("uv") or "uv"
PACKAGES = ("core", "trainer", "text", "optim-core", "decentral", "attention")

Result = subprocess.CompletedProcess[str]

# Small enough to train in a second, and nothing is due before the last step.
SMALL = {
    "task.sequence_length": 32,
    "task.batch_size": 8,
    "task.vocabulary_size": 300,
    "task.evaluation_tokens": 1024,
    "task.validation_fraction": 0.2,
    "model.hidden_size": 32,
    "model.intermediate_size": 64,
    "model.layers": 2,
    "model.heads": 2,
    "trainer.steps": 8,
    "trainer.warmup_steps": 1,
    "trainer.log_every": 1,
    "trainer.evaluate_every": 0,
    "trainer.checkpoint_every": 0,
}


@dataclass(frozen=True)
class Environment:
    """A Python with packages in it, and what to run there."""

    python: str
    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def command(
        self,
        *arguments: str,
        launcher: Sequence[str] = ("-m", "graftwork"),
        timeout: float = 240,
        **variables: str,
    ) -> Result:
        """Run ``graftwork``, or what ``launcher`` says, to its end."""
        return subprocess.run(
            [self.python, *launcher, *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**self.shell(), **variables},
            check=False,
            timeout=timeout,
        )

    def shell(self) -> dict[str, str]:
        """The variables of a process here."""
        # What the caller's shell holds must not choose plugins or packages here. And a fresh environment that
        # may not keep its bytecode would compile torch anew in every process.
        dropped = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("GRAFTWORK_") and name not in dropped
        }
        return {**kept, "COLUMNS": "100", "OMP_NUM_THREADS": "1", **self.variables}

    def uv_pip(self, *arguments: str) -> Result:
        """Run ``uv pip ARGUMENTS`` on this environment."""
        subcommand, *rest = arguments
        return subprocess.run(
            [UV, "pip", subcommand, "--python", self.python, *rest],
            capture_output=True,
            text=True,
            cwd=self.folder,
            check=False,
        )

    def install(self, *arguments: str) -> None:
        """Install and fail with uv's own words."""
        result = self.uv_pip("install", *arguments)
        assert result.returncode == 0, result.stderr


def settings(values: Mapping[str, Any]) -> list[str]:
    """``--set KEY=VALUE`` for each."""
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten documents of sentences with a grammar, which a small model picks up within a few steps."""
    folder = tmp_path_factory.mktemp("texts")
    draw = random.Random(0)
    words = {
        "subject": ["the miller", "a sailor", "our neighbour", "the youngest sister", "every clerk"],
        "verb": ["carries", "repairs", "remembers", "sells", "paints"],
        "object": ["the lantern", "two ropes", "an old clock", "the blue door", "seven letters"],
        "place": ["in the harbour", "behind the mill", "on the bridge", "at the market"],
    }
    for number in range(10):
        sentences = [" ".join(draw.choice(choices) for choices in words.values()) + "." for _ in range(80)]
        paragraphs = [" ".join(sentences[start : start + 8]) for start in range(0, 80, 8)]
        (folder / f"{number}.txt").write_text("\n\n".join(paragraphs), "utf-8")
    return folder


@pytest.fixture(scope="session")
def shared_variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Every process of these tests finds the text tokenized by the first."""
    return {"GRAFTWORK_CACHE": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture(scope="session")
def small(text_folder: Path) -> Callable[..., list[str]]:
    """``--set`` options that make ``lm-pretrain`` small, with others laid over them."""

    def build(**changes: Any) -> list[str]:
        # `trainer__steps` stands for `trainer.steps`, which is no Python name.
        dotted = {key.replace("__", "."): value for key, value in changes.items()}
        return settings({**SMALL, "task.data": text_folder, **dotted})

    return build


@pytest.fixture(scope="session")
def environment_here(shared_variables: dict[str, str]) -> Callable[..., Environment]:
    """The Python that runs these tests, in a folder: every package of the workspace is installed in it."""

    def make(folder: Path, **variables: str) -> Environment:
        return Environment(sys.executable, folder, {**shared_variables, **variables})

    return make


@pytest.fixture
def here(environment_here: Callable[..., Environment], tmp_path: Path) -> Environment:
    """This Python in the test's own folder."""
    return environment_here(tmp_path)


@dataclass(frozen=True)
class Ended:
    """How a command line in several processes ended.

    Args:
        codes: exit codes of every process, one a start.
        words: what all of them printed to standard error.
        seconds: that it took.
    """

    codes: dict[int, list[int]]
    words: str
    seconds: float


@pytest.fixture(scope="session")
def fork_in(
    environment_here: Callable[..., Environment], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., list[Ended]]]:
    """Run ``graftwork`` in a folder as several processes under the variables of a launcher.

    As in decentral's tests they are forked from one that has imported everything, for launchers have tests of
    their own, and importing torch costs seconds a process. A command line is its words and its processes.
    """
    script = ROOT / "packages" / "decentral" / "tests" / "communication" / "forked.py"
    job = Path(__file__).with_name("command_job.py")
    own = tmp_path_factory.mktemp("forked")
    here, said = environment_here(own), own / "said.txt"
    with said.open("w") as words:
        server = subprocess.Popen(
            [here.python, str(script), str(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            text=True,
            cwd=own,
            env=here.shell(),
        )
    assert server.stdin is not None
    assert server.stdout is not None

    def run(
        folder: Path,
        *commands: tuple[Sequence[str], int],
        plugins: Sequence[Path] = (),
        restart: Sequence[int] = (),
    ) -> list[Ended]:
        scenarios = [
            {
                "arguments": list(words),
                "folder": str(folder),
                "plugins": list(map(str, plugins)),
                "restart": list(restart),
                "world": processes,
                "limit": 200.0,
            }
            for words, processes in commands
        ]
        file = folder / "scenarios.json"
        file.write_text(json.dumps(scenarios))
        before = len(said.read_text("utf-8"))
        print(file, file=server.stdin, flush=True)
        answer = server.stdout.readline()
        told = said.read_text("utf-8")[before:]
        assert answer, told
        return [
            Ended({int(rank): codes for rank, codes in one["codes"].items()}, told, one["seconds"])
            for one in json.loads(answer)
        ]

    yield run
    server.stdin.close()
    server.wait()


@pytest.fixture
def forked(fork_in: Callable[..., list[Ended]], tmp_path: Path) -> Callable[..., Ended]:
    """Run one command line of ``graftwork`` as several processes in the test's own folder."""

    def run(*arguments: str, processes: int, **options: Any) -> Ended:
        (ended,) = fork_in(tmp_path, (arguments, processes), **options)
        return ended

    return run


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel of every package, built from the tree."""
    return {
        package: build_wheel(ROOT / "packages" / package, tmp_path_factory.mktemp("wheels"))
        for package in PACKAGES
    }


def build_wheel(project: Path, folder: Path) -> Path:
    """Build a project's wheel into an empty folder."""
    built = subprocess.run(
        [UV, "build", "--quiet", "--wheel", str(project), "-o", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Build a project's wheel."""
    return lambda project: build_wheel(project, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def locked_versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The versions in ``uv.lock`` as constraints, so that fresh environments get what was tested."""
    path = tmp_path_factory.mktemp("locked") / "constraints.txt"
    options = ["--frozen", "--all-packages", "--all-groups", "--no-emit-workspace", "--no-hashes", "--quiet"]
    exported = subprocess.run(
        [UV, "export", *options, "-o", str(path)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert exported.returncode == 0, exported.stderr
    return path


@pytest.fixture(scope="session")
def fresh_environment(
    tmp_path_factory: pytest.TempPathFactory, locked_versions: Path, shared_variables: dict[str, str]
) -> Callable[..., Environment]:
    """Make an environment that holds some requirements and wheels, and nothing of the tree.

    Its bytecode is that of this environment as far as the files are the same: torch is not compiled again.
    """

    def make(*requirements: str | Path) -> Environment:
        folder = tmp_path_factory.mktemp("environment")
        made = subprocess.run(
            [UV, "venv", "--quiet", "--python", sys.executable, str(folder / "venv")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        environment = Environment(str(scripts / "python"), folder, shared_variables)
        environment.install("--constraints", str(locked_versions), *map(str, requirements))
        subprocess.run([sys.executable, str(BYTECODE), str(folder / "venv"), sys.prefix], check=True)
        return environment

    return make


@pytest.fixture(scope="session")
def read_result() -> Callable[[Path], dict[str, Any]]:
    """How a run ended."""

    def read(run: Path) -> dict[str, Any]:
        result: dict[str, Any] = json.loads((run / "result.json").read_text("utf-8"))
        return result

    return read


@pytest.fixture(scope="session")
def read_losses() -> Callable[[Path], list[float]]:
    """The training losses that a run recorded."""

    def read(run: Path) -> list[float]:
        lines = map(json.loads, (run / "metrics.jsonl").read_text("utf-8").splitlines())
        return [line["train/loss"] for line in lines if "train/loss" in line]

    return read


@pytest.fixture
def train_here(tmp_path: Path) -> Callable[..., Path]:
    """Train a resolved recipe in this process, on one thread, and return the run's directory."""
    import torch

    from graftwork_trainer.run_directory import RunDirectory

    def run(resolved: Any, directory: str, *, resume: bool = False) -> Path:
        opened = RunDirectory(tmp_path / directory, resolved, {}, resume=resume, quiet=True)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            resolved.trainer().fit(resolved.task(), resolved, opened)
        finally:
            torch.set_num_threads(threads)
        return opened.directory

    return run


@pytest.fixture
def assert_same_bits() -> Callable[..., None]:
    """Two runs whose last checkpoints agree in every bit of weights and state, whoever wrote them."""
    import torch

    from graftwork_trainer.checkpoint import open_checkpoint

    def flatten(tree: dict[str, Any], path: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in tree.items():
            if isinstance(value, dict):
                found |= flatten(value, f"{path}.{key}")
            elif isinstance(value, torch.Tensor):
                found[f"{path}.{key}"] = value
        return found

    def saved(run: Path) -> dict[str, Any]:
        newest = open_checkpoint(max((run / "checkpoints").iterdir()))
        return flatten(newest.part("model", "optimizer"), "")

    def compare(one: Path, other: Path, *, at_least: int) -> None:
        first, second = saved(one), saved(other)
        assert first.keys() == second.keys()
        assert len(first) >= at_least
        assert not [name for name in first if not torch.equal(first[name], second[name])]

    return compare
