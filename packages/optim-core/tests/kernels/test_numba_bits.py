"""Processes that compile numba's kernels and processes that load them from numba's cache: equal bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    ("family", "kernel", "lost", "optimizers"),
    [
        # Compiled twice, at twenty seconds.
        pytest.param("gwt-adamw", "haar_adamw_numba", "_advance", 6, marks=pytest.mark.lengths),
        ("nsgdc", "momentum_norm_numba", "_average_parts", 2),
    ],
)
def test_bits_are_those_of_the_first_process_whatever_the_cache_holds(
    tmp_path: Path, family: str, kernel: str, lost: str, optimizers: int
) -> None:
    """An entry that is lost is compiled beside others that are loaded."""
    job = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("numba_job.py")), family, lost],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert job.returncode == 0, job.stderr
    found = json.loads(job.stdout)
    cold, warm, partly = found["processes"]
    assert {Path(path).name.split(".")[0] for path in found["before"]} == {kernel}
    assert len(cold) == optimizers
    assert warm == cold
    assert partly == cold
    assert found["after"] == found["before"]
