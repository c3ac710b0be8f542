"""One thread a test run, as two cores are shared by everything; and jobs of several processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

FORKED = Path(__file__).with_name("forked.py")


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    torch.manual_seed(0)


def pytest_configure() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def run_job() -> Callable[..., list[dict[str, Any]]]:
    """Run a job, see forked.py, as so many processes; return what each left in ``FOLDER/found-RANK.json``."""

    def run(job: Path, folder: Path, world: int, *checks: str) -> list[dict[str, Any]]:
        ended = subprocess.run(
            [sys.executable, str(FORKED), str(job), str(world), str(folder), *checks],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout
        return [json.loads((folder / f"found-{rank}.json").read_text()) for rank in range(world)]

    return run
