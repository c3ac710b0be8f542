"""A disk that fills at any moment: one sentence that says so, and with room again training goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import Commands, left_by, write_recipe

NAME = "standard-adamw"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A file system of a size, which can be called again with another."""
    folder = tmp_path / "disk"

    def of_size(size: str) -> Path:
        options = f"size={size}" if not folder.exists() else f"remount,size={size}"
        folder.mkdir(exist_ok=True)
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if mounted.returncode:
            pytest.skip(f"mounting a small file system needs root: {mounted.stderr.strip()}")
        return folder

    yield of_size
    subprocess.run(["umount", "-l", str(folder)], check=False)


SIZES = ("4k", "8k", "12k", "16k", "24k", "32k", "48k", "64k", "80k", "100k", "130k", "160k")


@pytest.mark.parametrize(
    "size", [pytest.param(size, marks=() if size in ("16k", "80k") else pytest.mark.faults) for size in SIZES]
)
def test_a_disk_that_fills_is_one_sentence_and_training_goes_on_with_room(
    size: str, commands: Commands, whole: Callable[[str], Path], disk: Callable[[str], Path], tmp_path: Path
) -> None:
    run = disk(size) / "run"
    recipe = write_recipe(NAME, tmp_path)
    code, printed = commands.finish("train", recipe, "--out", run, "--no-report", "--quiet")
    assert "Traceback" not in printed
    assert code in (0, 2), printed
    if code == 2:
        assert "the disk is full" in printed.splitlines()[-1], printed
    disk("50m")
    begun = ("--resume", run) if (run / "recipe.toml").exists() else (recipe, "--out", run)
    if code == 2:
        code, printed = commands.finish("train", *begun, "--no-report", "--quiet")
        assert code == 0, printed
    found, wanted = left_by(run), left_by(whole(NAME))
    for part in ("checkpoint", "files", "values"):
        assert found[part] == wanted[part]


@pytest.mark.faults
@pytest.mark.parametrize("size", ["4k", "64k", "256k"])
def test_a_report_on_a_full_disk_is_absent_and_that_is_said(
    size: str, commands: Commands, whole: Callable[[str], Path], disk: Callable[[str], Path]
) -> None:
    folder = disk(size)
    code, printed = commands.finish("report", whole(NAME), "--out", folder / "report")
    assert code == 2, printed
    assert "the disk is full" in printed.splitlines()[-1], printed
    assert "MB are free there" in printed.splitlines()[-1], printed
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    disk("50m")
    assert commands.finish("report", whole(NAME), "--out", folder / "report")[0] == 0
