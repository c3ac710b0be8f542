"""Adapters to foreign libraries, from wheels: the tests that each brings, in an environment of its own.

An adapter needs the core and its foreign library; optimizers and trainings come from packages of ours that it
names for its tests alone.
"""

from __future__ import annotations

import re
import shutil
import tomllib
import zipfile
from collections.abc import Callable
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

PLUGINS = Path(__file__).resolve().parents[1] / "plugins"


@pytest.fixture(scope="module", params=["transformers-trainer", "lightning", "wandb"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter's source outside the tree."""
    folder = tmp_path_factory.mktemp("adapter") / request.param
    leftovers = shutil.ignore_patterns(".*", "__pycache__", "dist")
    shutil.copytree(PLUGINS / request.param, folder, ignore=leftovers)
    return folder


@pytest.fixture(scope="module")
def wheel(project: Path, build: Callable[[Path], Path]) -> Path:
    return build(project)


def test_its_wheel_is_whole_and_asks_for_the_core_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (about,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        requirements = message_from_bytes(archive.read(about)).get_all("Requires-Dist") or []
    assert any(name.endswith("/py.typed") for name in names)
    assert any(name.endswith("/LICENSE") for name in names)
    assert [line for line in requirements if line.startswith("graftwork")] == ["graftwork>=0.2,<0.3"]


def test_its_own_tests_pass_beside_the_wheels(
    fresh_environment: Callable[..., Any], wheels: dict[str, Path], project: Path, wheel: Path
) -> None:
    described = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))
    wanted = described["dependency-groups"]["dev"]
    tools = [line for line in wanted if not line.startswith("graftwork")]
    ours = [built for name, built in wheels.items() if any(f"graftwork-{name}>" in line for line in wanted)]
    environment = fresh_environment(wheels["core"], *ours, wheel, *tools)
    # The source would be found before the wheel if it lay there.
    shutil.rmtree(project / "src")
    result = environment.command(str(project / "tests"), "-q", launcher=["-m", "pytest"])
    assert result.returncode == 0, result.stdout[-6000:]
    passed = re.search(r"(\d+) passed", result.stdout)
    assert passed is not None
    assert int(passed[1]) >= 11
    healthy = environment.command("doctor")
    assert healthy.returncode == 0, healthy.stdout
    assert environment.uv_pip("check").returncode == 0
