"""Every registered optimizer, whoever registered it, on three gloo processes: as one with the whole batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from graftwork import get_registry

WORLD = 3
JOB = Path(__file__).with_name("contract_job.py")
NAMES = [entry.component.name for entry in get_registry().entries("optimizer")]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, float]]]:
    folder = tmp_path_factory.mktemp("contract")
    processes = [
        subprocess.Popen(
            [sys.executable, str(JOB), str(rank), str(WORLD), str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(WORLD)
    ]
    try:
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * WORLD, "\n".join(outputs)
    return [json.loads((folder / f"found-{rank}.json").read_text()) for rank in range(WORLD)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_many_processes_equal_one(found: list[dict[str, dict[str, float]]], name: str, way: str) -> None:
    assert all(rank[name][way] < 1e-9 for rank in found), [rank[name][way] for rank in found]
