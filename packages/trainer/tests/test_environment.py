"""What a run keeps of where it was made."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from graftwork_trainer.environment import describe_environment


def test_the_host_is_told() -> None:
    assert describe_environment()["host"]


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Git in the working directory, which is a fresh folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]

    def run(*arguments: str) -> None:
        subprocess.run(["git", *who, *arguments], check=True, capture_output=True)

    return run


def test_a_checkout_is_told_with_whether_its_files_were_changed(git: Callable[..., None]) -> None:
    assert describe_environment()["commit"] is None
    git("init")
    file = Path("file.py")
    file.write_text("one")
    git("add", "file.py")
    git("commit", "-m", "first")
    Path("runs").mkdir()
    Path("runs", "metrics.jsonl").write_text("unknown to git")
    clean = describe_environment()
    file.write_text("two")
    changed = describe_environment()
    assert len(clean["commit"]) == 40
    assert (clean["uncommitted_changes"], changed["uncommitted_changes"]) == (False, True)
    assert changed["commit"] == clean["commit"]


def test_without_git_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert describe_environment()["commit"] is None
