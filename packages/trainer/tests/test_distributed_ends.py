"""Two ranks that end before their time or at it: the run says why, and goes on to the same bits."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from graftwork_trainer.checkpoint import open_checkpoint

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_killed_rank_ends_the_run_and_resuming_gives_the_same_bits(
    command, assert_same_bits, tmp_path, parallel
):
    settings = ["--set", f"trainer.parallel={parallel}"]
    assert command("train", "--no-report", "toy.toml", "--out", "whole", *settings, ranks=2).returncode == 0
    killed = command(
        "train",
        "--no-report",
        "toy.toml",
        "--out",
        "parts",
        *settings,
        "--set",
        "task.kill_at_batch=8",
        **({"launcher": TORCHRUN} if parallel == "ddp" else {"ranks": 2}),  # the real torchrun once
    )
    assert killed.returncode != 0
    resumed = command(
        "train",
        "--no-report",
        "--resume",
        "parts",
        "--set",
        "task.kill_at_batch=0",
        "--allow",
        "kill_at_batch",
        ranks=2,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert_same_bits(tmp_path / "whole", tmp_path / "parts")


def test_a_checkpoint_of_two_sharded_ranks_continues_on_one(command, read_lines, tmp_path):
    settings = ["--set", "trainer.parallel=fsdp", "--set", "trainer.steps=6"]
    assert command("train", "--no-report", "toy.toml", "--out", "run", *settings, ranks=2).returncode == 0
    longer = command("train", "--no-report", "--resume", "run", "--set", "trainer.steps=9")
    assert longer.returncode == 0, longer.stderr
    assert [line["step"] for line in read_lines(tmp_path / "run")][-1] == 9


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_ranks_agree_on_running_statistics_before_they_evaluate_and_save(
    command, assert_same_bits, tmp_path, parallel
):
    told = ["task.name=rows", "task.norm=true", f"trainer.parallel={parallel}", "trainer.evaluate_every=0"]
    settings = [part for setting in told for part in ("--set", setting)]
    for name in ("whole", "parts"):
        result = command("train", "--no-report", "toy.toml", "--out", name, *settings, ranks=2)
        assert result.returncode == 0, result.stderr
    shutil.rmtree(tmp_path / "parts" / "checkpoints" / "step-000012")
    (tmp_path / "parts" / "result.json").unlink()
    resumed = command("train", "--no-report", "--resume", "parts", ranks=2)
    assert resumed.returncode == 0, resumed.stderr
    assert_same_bits(tmp_path / "whole", tmp_path / "parts")
    metrics = [
        json.loads((tmp_path / name / "result.json").read_text())["metrics"] for name in ("whole", "parts")
    ]
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_an_evaluation_that_fails_on_one_rank_ends_all_with_its_reason(command, parallel):
    settings = [
        "--set",
        "task.name=rows",
        "--set",
        "task.fails_on_rank=1",
        "--set",
        f"trainer.parallel={parallel}",
    ]
    result = command("train", "--no-report", "toy.toml", "--out", "run", *settings, ranks=2)
    assert result.returncode != 0
    assert "the evaluation failed on rank 1: ValueError: this rank has no luck" in result.stderr


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_layer_that_gets_no_gradient_is_named_under_ddp_and_trains_sharded(command, tmp_path, parallel):
    settings = ["--set", f"trainer.parallel={parallel}", "--set", "task.unused_layer=true"]
    result = command("train", "--no-report", "toy.toml", "--out", "run", *settings, ranks=2)
    if parallel == "ddp":
        assert result.returncode != 0
        assert "layer 'spare' takes no part in the loss" in result.stderr
        assert "Expected to have finished reduction" not in result.stderr
    else:
        assert result.returncode == 0, result.stderr
        more = ["--resume", "run", "--set", "trainer.steps=14"]
        assert command("train", "--no-report", *more, ranks=2).returncode == 0
        assert command("train", "--no-report", *more, "--set", "trainer.steps=16").returncode == 0


def test_sharded_ranks_keep_the_best_weights_and_start_from_them(command, tmp_path):
    settings = ["--set", "trainer.parallel=fsdp"]
    rising = ["--set", "trainer.patience=1", "--set", "task.validation_loss_rises=true"]
    early = command("train", "--no-report", "toy.toml", "--out", "early", *settings, *rising, ranks=2)
    assert early.returncode == 0, early.stderr
    result = json.loads((tmp_path / "early" / "result.json").read_text())
    assert (result["status"], result["steps"], result["best_step"]) == ("stopped-early", 8, 4)
    still = [
        "--set",
        "trainer.start_from=early:best",
        "--set",
        "optimizer.lr=0.0",
        "--set",
        "trainer.steps=1",
    ]
    started = command("train", "--no-report", "toy.toml", "--out", "started", *settings, *still, ranks=2)
    assert started.returncode == 0, started.stderr
    assert started.stderr.count("early, step 4 (best): 4 of 4 tensors taken") == 1
    best, taken = (
        open_checkpoint(tmp_path / path).part("model")["model"]
        for path in ("early/checkpoints/best-000004", "started/checkpoints/step-000001")
    )
    assert all(torch.equal(best[name], taken[name]) for name in best)


def test_two_ranks_go_through_stages_sharing_them_in_two_ways_and_resume_to_the_same_bits(
    command, assert_same_bits, tmp_path
):
    recipe = (tmp_path / "toy.toml").read_text()
    (tmp_path / "staged.toml").write_text(
        f'{recipe}parallel = "ddp"\n[[stages]]\n[[stages]]\n[stages.trainer]\nparallel = "fsdp"\nsteps = 6\n'
    )
    train = ("train", "--no-report")
    whole = command(*train, "staged.toml", "--out", "whole", ranks=2)
    assert whole.returncode == 0, whole.stderr
    killed = ("--set", "stages.2.task.kill_at_batch=5")
    assert command(*train, "staged.toml", "--out", "parts", *killed, ranks=2).returncode != 0
    alive = ("--set", "task.kill_at_batch=0", "--allow", "kill_at_batch")
    resumed = command(*train, "--resume", "parts", *alive, ranks=2)
    assert resumed.returncode == 0, resumed.stderr
    assert_same_bits(tmp_path / "whole/stages/2", tmp_path / "parts/stages/2")
    for number, parallel in {1: "ddp", 2: "fsdp"}.items():
        environment = json.loads((tmp_path / f"parts/stages/{number}/environment.json").read_text())
        assert (environment["world_size"], environment["parallel"]) == (2, parallel)


def test_two_ranks_end_at_one_step_when_their_time_is_over(command, tmp_path):
    settings = ("--set", "trainer.steps=none", "--set", "trainer.minutes=0.01")
    result = command("train", "--no-report", "toy.toml", "--out", "run", *settings, ranks=2)
    assert result.returncode == 0, result.stderr
    ended = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (ended["status"], ended["reason"]) == ("finished", "trainer.minutes = 0.01 are over")
    newest = open_checkpoint(max((tmp_path / "run" / "checkpoints").glob("step-*")))
    assert (newest.step, newest.processes) == (ended["steps"], 2)
