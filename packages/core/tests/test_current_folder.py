"""Nothing that lies in the folder in which a command is given is executed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from graftwork.testing import write_plugin

# Each module that is executed leaves a line.
LEAVES_A_LINE = "with open({ran!r}, 'a') as lines: lines.write(__name__ + '\\n')\n"
CHILDREN = """
import multiprocessing
from graftwork import Command, hookimpl

class Spawn:
    def configure(self, parser): pass
    def run(self, arguments):
        child = multiprocessing.get_context("spawn").Process(target=print, args=("a child",))
        child.start()
        child.join()
        return child.exitcode

@hookimpl
def graftwork_commands():
    yield Command("spawn", "start a process", "graftwork_children:Spawn")
"""


class Planted:
    """A folder of files that must not run, and Python in it."""

    def __init__(self, folder: Path, installed: Path, ran: Path) -> None:
        self.folder, self.installed = folder, installed
        self._ran = ran

    def plant(self, name: str) -> None:
        (self.folder / f"{name}.py").write_text(LEAVES_A_LINE.format(ran=str(self._ran)))

    def plant_plugin(self, name: str) -> Path:
        return write_plugin(self.folder, name, LEAVES_A_LINE.format(ran=str(self._ran)))

    def python(self, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
        names = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**names, "PYTHONPATH": path or str(self.installed), "GRAFTWORK_PLUGINS": "children,evil"},
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def ran(self) -> list[str]:
        return self._ran.read_text().split() if self._ran.exists() else []


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    for name in ("folder", "installed"):
        (tmp_path / name).mkdir()
    write_plugin(tmp_path / "installed", "children", CHILDREN)
    return Planted(tmp_path / "folder", tmp_path / "installed", tmp_path / "ran")


@pytest.fixture
def every_module(planted: Planted) -> Planted:
    """Files named like every module that Python does not import itself, whatever it is asked to run."""
    (planted.installed / "nothing.py").write_text("import sys; print(*sys.modules)")
    by_python_itself = planted.python("-m", "nothing").stdout.split()
    for name in {*sys.stdlib_module_names, "torch", "yaml", "pluggy", "packaging"}.difference(
        by_python_itself
    ):
        planted.plant(name)
    return planted


@pytest.mark.parametrize("command", ["list", "spawn"])
def test_no_module_runs(every_module, command):
    result = every_module.python("-m", "graftwork", command)
    assert (every_module.ran, result.returncode, result.stderr) == ([], 0, "")


def test_no_module_runs_for_the_script(every_module):
    script = "from graftwork.cli import main\nif __name__ == '__main__':\n    raise SystemExit(main())"
    (every_module.installed / "graftwork-script").write_text(script)
    result = every_module.python(str(every_module.installed / "graftwork-script"), "spawn")
    assert (every_module.ran, result.returncode, result.stderr) == ([], 0, "")


@pytest.mark.parametrize("metadata", ["dist-info", "egg-info"])
def test_no_plugin_runs(planted, metadata):
    planted.plant_plugin("evil")
    if metadata == "egg-info":
        (written,) = planted.folder.glob("*.dist-info")
        (written / "METADATA").rename(written / "PKG-INFO")
        written.rename(written.with_suffix(".egg-info"))
    result = planted.python("-m", "graftwork", "doctor")
    assert (planted.ran, result.returncode) == ([], 0)
    assert "graftwork-evil" not in result.stdout


@pytest.mark.parametrize("path", [":{installed}", "{installed}:", "{installed}::{installed}", ":"])
def test_an_empty_part_of_the_path_is_not_the_folder(planted, path):
    planted.plant_plugin("evil")
    result = planted.python("-m", "graftwork", "doctor", path=path.format(installed=planted.installed))
    assert (planted.ran, result.returncode) == ([], 0)
    assert ("graftwork-children" in result.stdout) is ("installed" in path)


@pytest.mark.parametrize("path", ["{folder}", ".", ":{folder}", "{installed}:."])
def test_what_the_path_names_runs(planted, path):
    planted.plant_plugin("evil")
    named = path.format(folder=planted.folder, installed=planted.installed)
    assert planted.python("-m", "graftwork", "doctor", path=named).returncode == 1  # it registers nothing
    assert planted.ran == ["graftwork_evil"]


def test_a_folder_that_is_gone_is_no_obstacle(planted):
    gone = planted.folder / "gone"
    program = f"import os; os.mkdir({str(gone)!r}); os.chdir({str(gone)!r}); os.rmdir({str(gone)!r})\n"
    program += f"os.execv({sys.executable!r}, [{sys.executable!r}, '-m', 'graftwork', 'list', '--kinds'])"
    result = planted.python("-c", program)
    assert (result.returncode, result.stderr) == (0, "")


def test_no_module_runs_where_pip_installs(every_module):
    every_module.plant("pip")
    program = "import json; from graftwork.realdata import _installers; print(json.dumps(_installers()))"
    installers = dict(json.loads(every_module.python("-P", "-c", program).stdout))
    python, *arguments = installers["pip"]
    assert python == sys.executable
    result = every_module.python(*arguments, "--help")
    assert (every_module.ran, result.returncode) == ([], 0)
    assert "pip install" in result.stdout
