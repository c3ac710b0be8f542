"""Jobs on several processes, a list of scenarios at once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Outcome:
    """How a scenario ended.

    Args:
        codes: exit codes of every process, one a start; -99 for one that had to be ended.
        seconds: that it took.
        ends: what the processes wrote, by number.
        words: what all scenarios printed to standard error.
    """

    codes: dict[int, list[int]]
    seconds: float
    ends: dict[int, dict[str, Any]]
    words: str


Runner = Callable[[str, dict[str, dict[str, Any]]], dict[str, Outcome]]


@pytest.fixture(scope="module")
def outcomes_of(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """Run scenarios by name, one after the other, and return how each ended."""

    def run(job: str, scenarios: dict[str, dict[str, Any]]) -> dict[str, Outcome]:
        folder = tmp_path_factory.mktemp("jobs")
        here = Path(__file__).parent
        for name, scenario in scenarios.items():
            (folder / name).mkdir()
            scenario["folder"] = str(folder / name)
        (folder / "scenarios.json").write_text(json.dumps(list(scenarios.values())))
        command: Sequence[str] = [
            sys.executable,
            str(here / "forked.py"),
            str(here / job),
            str(folder / "scenarios.json"),
        ]
        result = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        found = json.loads(result.stdout.splitlines()[-1])
        return {
            name: Outcome(
                {int(rank): codes for rank, codes in one["codes"].items()},
                one["seconds"],
                {
                    int(path.stem.split("-")[1]): json.loads(path.read_text())
                    for path in (folder / name).glob("end-*.json")
                },
                result.stderr,
            )
            for name, one in zip(scenarios, found, strict=True)
        }

    return run
