"""SIGKILL at any moment, mostly while a checkpoint is written: nothing is lost, and the end is the same."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import TRAININGS, Commands, left_by, write_recipe


@pytest.mark.parametrize(
    ("name", "kills"),
    [
        ("standard-adamw", 2),
        ("decentralized-compressed", 2),
        *(pytest.param(name, 5, marks=pytest.mark.faults) for name in TRAININGS),
    ],
)
def test_killed_again_and_again_training_ends_as_if_it_had_not_been(
    name: str, kills: int, commands: Commands, whole: Callable[[str], Path], tmp_path: Path
) -> None:
    wanted = left_by(whole(name))
    draw = random.Random(name)
    run = tmp_path / "run"
    begin = ("train", write_recipe(name, tmp_path), "--out", run)
    killed = 0
    while killed < kills:
        seen = _progress(run)
        arguments = ("train", "--resume", run) if (run / "recipe.toml").exists() else begin
        process = commands.start(*arguments, "--no-report", "--quiet")
        deadline = time.monotonic() + 60
        while _progress(run) <= seen and process.is_alive():
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(draw.random() * 0.05)
        if process.is_alive() and process.pid is not None:
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        if process.exitcode == 0:
            break  # it was faster than we
        assert process.exitcode == -signal.SIGKILL, (tmp_path / "output.txt").read_text()
        killed += 1
    assert killed
    code, printed = commands.finish("train", "--resume", run, "--no-report", "--quiet")
    assert code == 0, printed
    assert left_by(run) == wanted


def _progress(run: Path) -> str:
    """The newest name in the folder of checkpoints, whole or not."""
    try:
        return max((path.name for path in (run / "checkpoints").iterdir()), default="")
    except FileNotFoundError:
        return ""
