"""Agents in three processes end bitwise where they end in one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import torch

from graftwork_decentral.communication import StackedCommunicator

_JOB = Path(__file__).with_name("processes_job.py")


def test_three_processes_are_bitwise_one(tmp_path: Path) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, str(_JOB), str(tmp_path)],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "3"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(3)
    ]
    try:
        for process in running:
            _, words = process.communicate(timeout=120)
            assert process.returncode == 0, words
    finally:
        for process in running:
            process.kill()
    spec = importlib.util.spec_from_file_location("processes_job", _JOB)
    assert spec is not None
    assert spec.loader is not None
    job = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(job)
    together = job.ends(StackedCommunicator(job.GRAPH, path="differences"))
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(3)]
    for name, expected in together.items():
        assert torch.equal(torch.cat([part[name] for part in parts]), expected), name
