"""Processes that compile numba's kernels and processes that load them from numba's cache: equal bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

KERNELS = {"haar_adamw_numba", "momentum_norm_numba"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_bits_are_those_of_the_first_process_whatever_the_cache_holds(tmp_path: Path) -> None:
    # Some entries are compiled beside others that are loaded.
    lost = ("_advance", "_average_parts")
    job = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("numba_job.py")), *lost],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert job.returncode == 0, job.stderr
    found = json.loads(job.stdout)
    cold, warm, partly = found["processes"]
    assert {Path(path).name.split(".")[0] for path in found["before"]} == KERNELS
    assert len(cold) == 8
    assert warm == cold
    assert partly == cold
    assert found["after"] == found["before"]
