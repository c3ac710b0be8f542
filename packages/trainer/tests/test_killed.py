"""Runs that end before their time: killed, interrupted, out of disk. What was saved stays, and nothing is
lost.

Reached from here: ``random_state.py``, ``durable.py``.
"""

from __future__ import annotations

import signal
import subprocess
import time

import pytest

KILLED = -signal.SIGKILL


def test_killed_between_steps_and_resumed_training_ends_with_the_same_bits(
    command, assert_same_end, tmp_path
):
    assert command("train", "--no-report", "toy.toml", "--out", "whole").returncode == 0
    killed = command("train", "--no-report", "toy.toml", "--out", "parts", "--set", "task.kill_at_batch=8")
    assert killed.returncode == KILLED
    assert not (tmp_path / "parts" / "result.json").exists()
    resumed = command(
        "train",
        "--no-report",
        "--resume",
        "parts",
        "--set",
        "task.kill_at_batch=0",
        "--allow",
        "kill_at_batch",
    )
    assert resumed.returncode == 0, resumed.stderr
    assert_same_end(tmp_path / "whole", tmp_path / "parts")


def test_killed_at_arbitrary_moments_and_resumed_training_ends_with_the_same_bits(
    command, launch, assert_same_end, tmp_path
):
    # A checkpoint after every step, so that most moments lie inside the writing of one.
    settings = ["--set", "trainer.checkpoint_every=1", "--set", "trainer.steps=60"]
    assert command("train", "--no-report", "toy.toml", "--out", "whole", *settings).returncode == 0
    arguments = ["train", "--no-report", "toy.toml", "--out", "parts", *settings]
    for patience in (0.05, 0.37):
        process = launch(*arguments)
        seen = _newest_entry(tmp_path / "parts" / "checkpoints")
        _wait_for_another_entry(tmp_path / "parts" / "checkpoints", seen, process)
        time.sleep(patience)
        process.kill()
        process.wait()
        arguments = ["train", "--no-report", "--resume", "parts"]
    finished = command(*arguments)
    assert finished.returncode == 0, finished.stderr
    assert_same_end(tmp_path / "whole", tmp_path / "parts")


def _newest_entry(folder):
    return max((path.name for path in folder.iterdir()), default="") if folder.is_dir() else ""


def _wait_for_another_entry(folder, seen, process):
    deadline = time.monotonic() + 60
    while _newest_entry(folder) in ("", seen):
        assert process.poll() is None, "training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_termination_request_saves_and_says_how_to_continue(
    command, launch, read_lines, assert_same_bits, tmp_path
):
    process = launch(
        "train",
        "toy.toml",
        "--out",
        "asked",
        "--set",
        "task.pause_seconds=0.1",
        "--set",
        "trainer.log_every=1",
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "asked" / "metrics.jsonl").exists() or not read_lines(tmp_path / "asked"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    last = stderr.strip().splitlines()[-1]
    assert last.startswith("graftwork: stopped at step ")
    assert last.endswith("saved; continue with `graftwork train --resume asked`")
    resumed = command("train", "--no-report", "--resume", "asked")
    assert resumed.returncode == 0, resumed.stderr
    assert command("train", "--no-report", "toy.toml", "--out", "whole").returncode == 0
    assert_same_bits(tmp_path / "whole", tmp_path / "asked")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 600 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"mounting a small file system needs root: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_one_sentence_and_what_was_saved_stays_loadable(
    command, small_disk, assert_same_bits, tmp_path
):
    run, ballast = small_disk / "run", small_disk / "ballast"
    settings = ["--set", "task.fill_disk_at_batch=8", "--set", f"task.fill_disk_at={ballast}"]
    full = command("train", "--no-report", "toy.toml", "--out", str(run), *settings)
    assert full.returncode == 2, full.stderr
    sentence = full.stderr.strip().splitlines()[-1]
    assert sentence.startswith("graftwork: error: ")
    assert "the disk is full" in sentence
    assert "Traceback" not in full.stderr
    ballast.unlink()
    resumed = command(
        "train",
        "--no-report",
        "--resume",
        str(run),
        "--set",
        "task.fill_disk_at_batch=0",
        "--allow",
        "fill_disk_at_batch",
    )
    assert resumed.returncode == 0, resumed.stderr
    assert command("train", "--no-report", "toy.toml", "--out", "whole").returncode == 0
    assert_same_bits(run, tmp_path / "whole")
