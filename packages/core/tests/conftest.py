"""Throwaway plugins, discovered like installed ones."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

from graftwork import Registry, get_registry
from graftwork.plugins import Selection, load_plugins
from graftwork.testing import write_plugin

HEADER = "from graftwork import Command, Component, Kind, hookimpl\n"

AddPlugin = Callable[..., Path]


@pytest.fixture
def plugins_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path; modules from it are forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    get_registry.cache_clear()
    yield folder
    get_registry.cache_clear()
    for name in set(sys.modules) - before:
        if name.startswith("graftwork_"):
            del sys.modules[name]


@pytest.fixture
def add_plugin(plugins_folder: Path) -> AddPlugin:
    """Write a plugin whose module starts with the usual imports."""

    def add(name: str, source: str, **metadata_fields: object) -> Path:
        return write_plugin(plugins_folder, name, HEADER + textwrap.dedent(source), **metadata_fields)

    return add


@pytest.fixture
def discover(plugins_folder: Path) -> Callable[..., Registry]:
    """The registry of the plugins in the folder alone, whatever else is installed beside them."""

    def build(*, strict: bool = False, **environment: str) -> Registry:
        points = metadata.Distribution.discover(path=[str(plugins_folder)])
        ours = [point for dist in points for point in dist.entry_points if point.group == "graftwork"]
        return Registry(load_plugins(ours, Selection.from_environment(environment), strict=strict))

    return build


@pytest.fixture
def command(plugins_folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``python -m graftwork`` in a process of its own that loads the folder's plugins and no others."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        ours = ",".join(
            path.stem.removeprefix("graftwork_") for path in plugins_folder.glob("graftwork_*.py")
        )
        environment = {"GRAFTWORK_PLUGINS": ours, **environment}
        return subprocess.run(
            [sys.executable, "-m", "graftwork", *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(plugins_folder), "COLUMNS": "80", **environment},
            check=False,
        )

    return run
