"""One thread a test run, as two cores are shared by everything; and jobs of several processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
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
def run_job() -> Iterator[Callable[..., list[dict[str, Any]]]]:
    """Run a job, see forked.py, as so many processes; return what each left in ``FOLDER/found-RANK.json``."""
    server = subprocess.Popen(
        [sys.executable, str(FORKED)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin is not None
    assert server.stdout is not None

    def run(job: Path, folder: Path, world: int, *checks: str) -> list[dict[str, Any]]:
        request = {"job": str(job), "world": world, "folder": str(folder), "checks": checks}
        print(json.dumps(request), file=server.stdin, flush=True)
        ended = json.loads(server.stdout.readline())
        assert ended["code"] == 0, ended["output"]
        return [json.loads((folder / f"found-{rank}.json").read_text()) for rank in range(world)]

    yield run
    server.stdin.close()
    server.wait()
