"""Two processes under torchrun do what one does on the whole batch, and resume to the same bits."""

from __future__ import annotations

import json

import pytest
import torch

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
EXACT = ["--set", "task.dropout=0.0"]


@pytest.fixture
def alone(command, tmp_path):
    """One process on batches of 16."""
    result = command(
        "train", "--no-report", "toy.toml", "--out", "alone", "--set", "task.batch_size=16", *EXACT
    )
    assert result.returncode == 0, result.stderr
    return tmp_path / "alone"


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_ranks_train_like_one(command, alone, saved_bits, tmp_path, parallel):
    settings = ["--set", f"trainer.parallel={parallel}", *EXACT]
    result = command("train", "--no-report", "toy.toml", "--out", parallel, *settings, launcher=TORCHRUN)
    assert result.returncode == 0, result.stderr
    first = saved_bits(alone)
    second = saved_bits(tmp_path / parallel)
    names = [name for name in first if ".random." not in name]
    assert len(names) > 10
    for name in names:
        torch.testing.assert_close(first[name], second[name], rtol=1e-4, atol=1e-5)
    environment = json.loads((tmp_path / parallel / "environment.json").read_text())
    assert (environment["world_size"], environment["parallel"]) == (2, parallel)
    alone_result, pair_result = (
        json.loads((tmp_path / name / "result.json").read_text()) for name in ("alone", parallel)
    )
    assert pair_result["parameters"] == alone_result["parameters"]
    if parallel == "fsdp":
        assert pair_result["optimizer_state_bytes"] < 0.7 * alone_result["optimizer_state_bytes"]


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_killed_rank_ends_the_run_and_resuming_gives_the_same_bits(
    command, assert_same_bits, tmp_path, parallel
):
    settings = ["--set", f"trainer.parallel={parallel}"]
    assert (
        command("train", "--no-report", "toy.toml", "--out", "whole", *settings, launcher=TORCHRUN).returncode
        == 0
    )
    killed = command(
        "train",
        "--no-report",
        "toy.toml",
        "--out",
        "parts",
        *settings,
        "--set",
        "task.kill_at_batch=8",
        launcher=TORCHRUN,
    )
    assert killed.returncode != 0
    resumed = command(
        "train", "--no-report", "--resume", "parts", "--set", "task.kill_at_batch=0", launcher=TORCHRUN
    )
    assert resumed.returncode == 0, resumed.stderr
    assert_same_bits(tmp_path / "whole", tmp_path / "parts")


def test_a_checkpoint_of_two_sharded_ranks_continues_on_one(command, read_lines, tmp_path):
    settings = ["--set", "trainer.parallel=fsdp", "--set", "trainer.steps=6"]
    assert (
        command("train", "--no-report", "toy.toml", "--out", "run", *settings, launcher=TORCHRUN).returncode
        == 0
    )
    longer = command("train", "--no-report", "--resume", "run", "--set", "trainer.steps=9")
    assert longer.returncode == 0, longer.stderr
    assert [line["step"] for line in read_lines(tmp_path / "run")][-1] == 9


def test_zeroth_order_ranks_step_by_the_same_number(command, read_lines, tmp_path):
    result = command("train", "--no-report", "toy.toml", "--out", "run", "--set", "optimizer.name=evolution",
                     "--set", "optimizer.lr=0.05", launcher=TORCHRUN)  # fmt: skip
    assert result.returncode == 0, result.stderr
    losses = [line["validation/loss"] for line in read_lines(tmp_path / "run") if "validation/loss" in line]
    assert losses[-1] < losses[0]
