"""Processes that compile numba's kernels and processes that load them from numba's cache: equal bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("numba")

KERNELS = {"haar_adamw_numba", "momentum_norm_numba"}


def bits(cache: Path) -> dict[str, Any]:
    """Return the digests that a process finds with this cache folder."""
    job = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("numba_job.py"))],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert job.returncode == 0, job.stderr
    found: dict[str, Any] = json.loads(job.stdout)
    return found


def entries(cache: Path, name: str) -> set[Path]:
    return set(cache.rglob(f"*.{name}*.nbi"))


def test_bits_are_those_of_the_first_process_whatever_the_cache_holds(tmp_path: Path) -> None:
    cold = bits(tmp_path)
    whole = entries(tmp_path, "_")
    assert {path.name.split(".")[0] for path in whole} == KERNELS
    assert bits(tmp_path) == cold
    # Some entries are compiled beside others that are loaded.
    for name in ("_advance", "_average_parts"):
        (lost,) = entries(tmp_path, name)
        lost.unlink()
    assert bits(tmp_path) == cold
    assert entries(tmp_path, "_") == whole
