"""compare as a user calls it: one variant for each value, each trained or told why not, and gone on with.

Reached from here: ``commands/child.py``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def one_sentence(result):
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("graftwork: error: ")
    return last


def test_compare_trains_every_variant_and_seed_and_goes_on_where_it_stopped(command, tmp_path):
    # Processes of their own cost seconds each: two seeds of one variant, and one of two.
    arguments = ["compare", "toy.toml", "--out", "both", "--over"]
    first = command(*arguments, "optimizer.name=adamw", "--seeds", "2")
    assert first.returncode == 0, first.stderr
    assert "±" in first.stdout
    again = command(*arguments, "optimizer.name=adamw,sgd")
    assert again.returncode == 0, again.stderr
    names = sorted(path.parent.name for path in (tmp_path / "both").glob("*/result.json"))
    assert names == ["adamw-seed0", "adamw-seed1", "sgd-seed0"]
    assert again.stderr.count("already trained") == 1
    for variant in ("adamw", "sgd"):
        assert variant in again.stdout
    assert (tmp_path / "both" / "report.html").is_file()
    assert list((tmp_path / "both" / "plots").glob("*.png"))
    other = one_sentence(command(*arguments, "optimizer.name=adamw", "--set", "trainer.steps=13"))
    assert "adamw-seed0 was trained there with another recipe (trainer.steps = 12 there, 13 here)" in other


def test_an_option_switched_off_stays_off_in_the_runs(command, tmp_path):
    over = ["--over", "trainer.clip_norm=none", "--out", "clips", "--set", "trainer.steps=2"]
    result = command("compare", "toy.toml", *over)
    assert result.returncode == 0, result.stderr
    assert 'clip_norm = "none"' in (tmp_path / "clips" / "clip_norm-none-seed0" / "recipe.toml").read_text()


def test_a_failing_variant_does_not_take_the_others_along(command, tmp_path):
    over = ["--over", "task.infinite_from_batch=0,3", "--out", "mixed", "--set", "trainer.steps=6"]
    result = command("compare", "toy.toml", *over)
    assert "infinite_from_batch-3-seed0 failed" in one_sentence(result)
    assert "report: mixed/report.html" in result.stdout
    page = (tmp_path / "mixed" / "report.html").read_text()
    assert "became nan by step 3" in page


def test_a_mistake_in_one_variant_is_found_before_any_trains(command, tmp_path):
    result = command("compare", "toy.toml", "--over", "optimizer.lr=0.1,fast", "--out", "never")
    assert result.returncode == 2
    assert "optimizer.lr (--over optimizer.lr=fast): expected float, got 'fast' (string)" in result.stderr
    assert not (tmp_path / "never").exists()


def test_values_that_read_alike_are_trained_apart(command, tmp_path):
    # The task does not read this one.
    over = ["--over", "task.fill_disk_at=da/v1,da-v1", "--out", "apart", "--set", "trainer.steps=2"]
    result = command("compare", "toy.toml", *over)
    assert result.returncode == 0, result.stderr
    recipes = [path.read_text() for path in (tmp_path / "apart").glob("*/recipe.toml")]
    assert sorted("da/v1" in recipe for recipe in recipes) == [False, True]
    assert result.stdout.count("1 seed") == 2
    assert "±" not in result.stdout


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--over", "optimizer.lr=1", "--out", ""], "must name a directory"),
        (
            ["--over", "optimizer.lr=1e-3,0.001"],
            "--over optimizer.lr=0.001 is the same as --over optimizer.lr=1e-3",
        ),
        (
            ["--over", "task.missing_file=nowhere/a.csv,toy.toml"],
            "--over task.missing_file=nowhere/a.csv: nowhere/a.csv: No such file or directory",
        ),
    ],
)
def test_nothing_trains_where_one_variant_is_wrong(command, tmp_path, options, sentence):
    assert sentence in one_sentence(command("compare", "toy.toml", "--out", "never", *options))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy.toml"]


def to_all(process, number):
    os.killpg(process.pid, number)


def to_the_comparison(process, number):
    process.send_signal(number)


@pytest.mark.parametrize(
    ("send", "number"),
    [
        (to_all, signal.SIGINT),
        (to_the_comparison, signal.SIGTERM),
    ],
)
def test_an_interrupted_comparison_goes_on_where_it_stopped(
    command, launch, read_lines, tmp_path, send, number
):
    over = ["compare", "toy.toml", "--over", "optimizer.lr=0.01", "--out", "both"]
    over += ["--set", "task.pause_seconds=0.1", "--set", "trainer.log_every=1"]
    process = launch(*over)
    first = tmp_path / "both" / "lr-0.01-seed0"
    deadline = time.monotonic() + 60
    while not (first / "metrics.jsonl").exists() or not read_lines(first):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    send(process, number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "lr-0.01-seed0: interrupted; the same command with `--out both` goes on" in stderr
    assert json.loads((first / "result.json").read_text())["status"] == "interrupted"
    steps = len(read_lines(first))
    assert steps < 12
    again = command(*over)
    assert again.returncode == 0, again.stderr
    assert [line["step"] for line in read_lines(first) if "train/loss" in line] == list(range(1, 13))


def plant(folder: Path) -> Path:
    """Write modules named like those that a training imports; return the file that they would write."""
    ran = folder / "ran"
    for name in ("torch", "numpy", "tqdm", "yaml", "json", "argparse", "typing", "signal", "socket"):
        (folder / f"{name}.py").write_text(f"open({str(ran)!r}, 'a').write(__name__)\n")
    return ran


def test_processes_of_a_comparison_execute_nothing_of_the_current_folder(command, tmp_path):
    ran = plant(tmp_path)
    over = ["--over", "optimizer.lr=0.1", "--processes", "2", "--out", "out", "--set", "trainer.steps=2"]
    result = command("compare", "toy.toml", *over, launcher=())
    assert (ran.exists(), result.returncode) == (False, 0), result.stderr


def test_processes_of_torchrun_execute_nothing_of_the_current_folder(command, tmp_path):
    ran = plant(tmp_path)
    # As the script torchrun does, of which the folder is not first on the path either.
    torchrun = ("-P", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    arguments = ["toy.toml", "--no-report", "--out", "out", "--set", "trainer.steps=2"]
    result = command("train", *arguments, launcher=torchrun)
    assert (ran.exists(), result.returncode) == (False, 0), result.stderr


def test_a_comparison_that_nobody_listens_to_trains_all(toy_folder, launch, tmp_path):
    launch("list").communicate()  # writes the recipe
    environment = {**os.environ, "PYTHONPATH": str(toy_folder), "GRAFTWORK_PLUGINS": "toy,trainer"}
    compare = ["compare", "toy.toml", "--over", "optimizer.lr=0.1", "--set", "trainer.steps=2"]
    command = [sys.executable, "-m", "graftwork", *compare, "--out", "both"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        process.stderr.close()
        assert process.wait(60) == 0
    assert len(list((tmp_path / "both").glob("*/result.json"))) == 1
    assert (tmp_path / "both" / "report.html").is_file()
