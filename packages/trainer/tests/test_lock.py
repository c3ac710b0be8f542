"""One writer a run: two starts, two resumes, and a lock file that a killed process left."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys

import pytest

from graftwork import GraftworkError
from graftwork_trainer.lock import RunLock, holder, renew

HOLD = """
import os, sys, time
from pathlib import Path
from graftwork_trainer.lock import RunLock
RunLock(Path(sys.argv[1])).acquire()
if sys.argv[2] == "alone" or os.fork() == 0:
    print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def hold(tmp_path):
    """Hold the lock of a run in another process."""
    started = []

    def start(how="alone"):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path / "run"), how],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):  # killed by the test
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_second_process_learns_who_holds_it_and_since_when(hold, tmp_path):
    process = hold()
    who = holder(tmp_path / "run")
    assert who.pid == process.pid
    with pytest.raises(GraftworkError, match=rf"process {process.pid} on \S+, since {who.started[:4]}"):
        RunLock(tmp_path / "run").acquire()


@pytest.mark.parametrize("how", ["alone", "fork"])
def test_one_that_was_killed_locks_nobody_out_though_its_children_live(hold, tmp_path, how):
    process = hold(how)
    process.kill()
    process.wait()
    assert (tmp_path / "run" / "lock").exists()
    assert holder(tmp_path / "run") is None
    with RunLock(tmp_path / "run"):
        assert holder(tmp_path / "run").pid == os.getpid()


def test_nothing_is_left_of_a_lock_under_which_nothing_was_written(tmp_path):
    with RunLock(tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists()
    with RunLock(tmp_path / "run"):
        (tmp_path / "run" / "recipe.toml").touch()
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["recipe.toml"]


@pytest.mark.parametrize("kind", ["file", "link to nothing"])
def test_what_is_no_directory_is_refused(tmp_path, kind):
    if kind == "file":
        (tmp_path / "run").write_text("kept")
    else:
        (tmp_path / "run").symlink_to(tmp_path / "nothing")
    with pytest.raises(GraftworkError, match="run: is no directory"):
        RunLock(tmp_path / "run").acquire()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_lock_whose_file_was_closed_with_all_others_is_let_go(tmp_path):
    with RunLock(tmp_path / "run") as lock:
        os.close(lock._file)
    assert holder(tmp_path / "run") is None


def test_a_lock_that_was_removed_with_its_run_is_taken_again(tmp_path):
    with RunLock(tmp_path / "run"):
        shutil.rmtree(tmp_path / "run")
        renew(tmp_path / "run")
        assert holder(tmp_path / "run").pid == os.getpid()
    assert not (tmp_path / "run").exists()


def test_a_run_that_was_removed_and_begun_by_another_is_not_taken_back(hold, tmp_path):
    with RunLock(tmp_path / "run"):
        shutil.rmtree(tmp_path / "run")
        process = hold()
        with pytest.raises(GraftworkError, match=f"process {process.pid}"):
            renew(tmp_path / "run")
    assert holder(tmp_path / "run").pid == process.pid


def test_of_many_that_take_it_at_once_one_holds_it_at_a_time(tmp_path):
    code = """
import sys
from pathlib import Path
from graftwork import GraftworkError
from graftwork_trainer.lock import RunLock
folder = Path(sys.argv[1])
for _ in range(1000):
    try:
        with RunLock(folder / "run"):
            (folder / "inside").mkdir()  # fails where another is inside
            (folder / "inside").rmdir()
    except GraftworkError:
        continue
"""
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
