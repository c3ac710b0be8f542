"""Trainings that are killed, damaged and starved of disk, and what must be left of them.

The short form of each test runs on every change; the long forms, marked ``faults``, in the nox session of
that name.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from typing import Any

import pytest

from graftwork.toml import dumps

STEPS = 24

_LOOP = {
    "steps": STEPS,
    "warmup_steps": 2,
    "log_every": 1,
    "evaluate_every": 8,
    "checkpoint_every": 1,
    "keep_checkpoints": 1,
    "device": "cpu",
}
_IMAGES = {"name": "image-classification", "model": {"name": "mlp", "hidden": 8}, "batch_size": 8}
_STANDARD = {"name": "standard", **_LOOP}
_DECENTRALIZED = {"name": "decentralized", "agents": 4, **_LOOP}


def _standard(**optimizer: Any) -> dict[str, Any]:
    return {"task": _IMAGES, "optimizer": optimizer, "trainer": _STANDARD}


def _decentralized(strategy: str, **optimizer: Any) -> dict[str, Any]:
    return {
        "task": _IMAGES,
        "optimizer": optimizer,
        "strategy": {"name": strategy},
        "trainer": _DECENTRALIZED,
    }


TRAININGS: Mapping[str, Mapping[str, Any]] = {
    "standard-adamw": _standard(name="adamw", lr=0.01),
    "standard-momentum": _standard(name="sgd", lr=0.05, momentum=0.9),
    "standard-gwt": _standard(name="gwt-adamw", lr=0.01),
    "standard-galore": _standard(name="galore-adamw", lr=0.01, rank=4),
    "standard-lozo": _standard(name="lozo", lr=1e-3),
    "standard-nsgdc-vr": _standard(name="nsgdc-vr", lr=1e-3),
    "decentralized-diffusion-adamw": _decentralized("diffusion", name="adamw", lr=0.01),
    "decentralized-exact-diffusion-sgd": _decentralized("exact-diffusion", name="sgd", lr=0.05),
    "decentralized-tracking-momentum": _decentralized("gt-semi-atc", name="sgd", lr=0.02, momentum=0.9),
    "decentralized-compressed": {
        **_decentralized("exact-diffusion", name="sgd", lr=0.05),
        "faults": {"name": "standard", "compressor": "8-bit"},
    },
    "bilevel": {
        "task": {"name": "policy-evaluation"},
        "trainer": {"name": "bilevel", "agents": 4, "alpha": 0.01, "beta": 0.01, "gamma": 0.01, **_LOOP},
    },
}


@dataclass
class Commands:
    """``graftwork`` in processes that are forked from one which has imported everything."""

    folder: Path
    context: Any

    def start(self, *arguments: str | Path, output: str = "output.txt") -> ForkServerProcess:
        """Start it."""
        from fault_job import run

        process: ForkServerProcess = self.context.Process(
            target=run, args=([str(part) for part in arguments], str(self.folder / output))
        )
        process.start()
        return process

    def finish(self, *arguments: str | Path) -> tuple[int | None, str]:
        """Run it to its end; return its exit code, 70 for a traceback, and what it printed."""
        output = self.folder / "last.txt"
        output.unlink(missing_ok=True)
        process = self.start(*arguments, output=output.name)
        process.join(120)
        assert process.exitcode is not None, f"graftwork {' '.join(map(str, arguments))} hangs"
        return process.exitcode, output.read_text()


@pytest.fixture(scope="session")
def _context() -> Iterator[Any]:
    folder = str(Path(__file__).parent)
    sys.path.insert(0, folder)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fault_job"])
    with pytest.MonkeyPatch.context() as patched:
        # The server looks for what it imports by its environment alone.
        patched.setenv("PYTHONPATH", folder)
        patched.setenv("OMP_NUM_THREADS", "1")
        ensure_running()
    yield context
    sys.path.remove(folder)


@pytest.fixture
def commands(_context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """``graftwork`` in the test's folder."""
    monkeypatch.chdir(tmp_path)
    return Commands(tmp_path, _context)


@pytest.fixture(scope="session")
def whole(_context: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A training that nothing happened to; each made once."""
    made: dict[str, Path] = {}

    def train(name: str) -> Path:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            code, printed = Commands(folder, _context).finish(
                "train", write_recipe(name, folder), "--out", folder / "run", "--no-report", "--quiet"
            )
            assert code == 0, printed
            made[name] = folder / "run"
        return made[name]

    return train


def write_recipe(name: str, folder: Path) -> Path:
    """The recipe of a training, as a file."""
    path = folder / "recipe.toml"
    path.write_text(dumps(TRAININGS[name]))
    return path


_OF_TIME = ("seconds", "_per_second", "wall_seconds", "step_seconds", "peak_memory_bytes")


def saved_by(run: Path) -> dict[str, Any]:
    """What is in a training's newest checkpoint."""
    newest = max((run / "checkpoints").iterdir())
    index = json.loads((newest / "index.json").read_text())["content"]
    return {
        "checkpoint": newest.name,
        "files": index["files"],
        "values": {**index["values"], "recipe": None},
    }


def left_by(run: Path) -> dict[str, Any]:
    """What a training leaves that does not depend on the clock: every bit, every metric once, every count."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    result = json.loads((run / "result.json").read_text())
    return {
        **saved_by(run),
        "metrics": [_timeless(line) for line in lines],
        "result": _timeless(result),
    }


def _timeless(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if not key.endswith(_OF_TIME)}
