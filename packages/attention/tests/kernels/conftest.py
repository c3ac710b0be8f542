"""Kernels in triton's interpreter: in a process of its own, as only its environment can say so in time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture(scope="session")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """Run a test file as a program, with the path for what it is to leave, and return that."""
    pytest.importorskip("triton")

    def run(file: str) -> Any:
        path = tmp_path_factory.mktemp("interpreted") / "outcomes.pt"
        environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, str(Path(file)), str(path)], env=environment, check=True)
        return torch.load(path)

    return run
