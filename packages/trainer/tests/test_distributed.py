"""Two processes under torchrun do what one does on the whole batch, and resume to the same bits."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from graftwork_trainer.checkpoint import open_checkpoint

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
    # Activations that are made again, beside DDP's and FSDP2's hooks, change nothing either.
    again = ["--set", "trainer.gradient_checkpointing=true"]
    settings = ["--set", f"trainer.parallel={parallel}", *again, *EXACT]
    result = command("train", "--no-report", "toy.toml", "--out", parallel, *settings, launcher=TORCHRUN)
    assert result.returncode == 0, result.stderr
    first = saved_bits(alone)
    second = saved_bits(tmp_path / parallel)
    names = [name for name in first if ".processes." not in name]
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
        "train",
        "--no-report",
        "--resume",
        "parts",
        "--set",
        "task.kill_at_batch=0",
        "--allow",
        "kill_at_batch",
        launcher=TORCHRUN,
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


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_zeroth_order_ranks_step_as_one_process_does(command, read_lines, saved_bits, tmp_path, parallel):
    settings = [
        "optimizer.name=evolution",
        "optimizer.lr=0.05",
        "optimizer.scale=0.1",
        "task.offset_at_root=true",
    ]
    options = [*EXACT, *(part for setting in settings for part in ("--set", setting))]
    alone = command(
        "train", "--no-report", "toy.toml", "--out", "alone", *options, "--set", "task.batch_size=16"
    )
    assert alone.returncode == 0, alone.stderr
    pair = command("train", "--no-report", "toy.toml", "--out", "pair", *options,
                   "--set", f"trainer.parallel={parallel}", launcher=TORCHRUN)  # fmt: skip
    assert pair.returncode == 0, pair.stderr
    one, other = saved_bits(tmp_path / "alone"), saved_bits(tmp_path / "pair")
    for name in (name for name in one if ".random." not in name):
        torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=1e-4)
    losses = [
        [line["validation/loss"] for line in read_lines(tmp_path / name) if "validation/loss" in line]
        for name in ("alone", "pair")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[1][-1] < losses[1][0]


def sharing(command, tmp_path, name, *settings, launcher=()):
    """Train without dropout and return what each rank's optimizer saw."""
    told = ["optimizer.name=sharing", f"optimizer.seen={name}", *settings]
    options = [*EXACT, *(part for setting in told for part in ("--set", setting))]
    result = command("train", "--no-report", "toy.toml", "--out", name, *options, launcher=launcher)
    assert result.returncode == 0, result.stderr
    files = sorted(tmp_path.glob(f"{name}-*.jsonl"))
    return [[json.loads(line) for line in file.read_text().splitlines()] for file in files]


def test_an_optimizer_that_averages_itself_sees_the_losses_of_its_rank_alone(command, saved_bits, tmp_path):
    alone = sharing(command, tmp_path, "alone", "task.batch_size=16")
    pair = sharing(command, tmp_path, "pair", launcher=TORCHRUN)
    assert [len(seen) for seen in (*alone, *pair)] == [12, 12, 12]
    for whole, first, second in zip(*alone, *pair, strict=True):
        # Told to average, and shown a model without DDP around it.
        assert first[:2] == second[:2] == ["average", "Sequential"]
        assert first[2] != second[2]
        assert (first[2] + second[2]) / 2 == pytest.approx(whole[2], rel=1e-4)
    one, other = saved_bits(tmp_path / "alone"), saved_bits(tmp_path / "pair")
    for name in (name for name in one if ".random." not in name):
        torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=1e-4)


def test_ranks_that_try_different_directions_do_so_on_the_same_batch(command, tmp_path):
    settings = ("optimizer.data_parallel=probes", "optimizer.lr=0.0")
    alone = sharing(command, tmp_path, "alone", "optimizer.lr=0.0")
    pair = sharing(command, tmp_path, "pair", *settings, launcher=TORCHRUN)
    for whole, first, second in zip(*alone, *pair, strict=True):
        assert first[0] == "probes"
        assert first[2:] == second[2:]
        assert first[2:] == pytest.approx(whole[2:], rel=1e-6)


def test_rows_of_two_ranks_make_the_metrics_of_one(command, tmp_path):
    def metrics(name, *settings, launcher=()):
        # At a rate of 0 the weights stay what they are at the start, in one process as in two.
        told = ["task.name=rows", "optimizer.lr=0.0", "trainer.steps=2", *settings]
        options = [part for setting in told for part in ("--set", setting)]
        result = command("train", "--no-report", "toy.toml", "--out", name, *options, launcher=launcher)
        assert result.returncode == 0, result.stderr
        return json.loads((tmp_path / name / "result.json").read_text())["metrics"]

    alone = metrics("alone")
    assert alone == metrics("pair", launcher=TORCHRUN)
    assert alone == metrics("stream", "task.as_iterator=true", launcher=TORCHRUN)
    assert alone == pytest.approx(metrics("sharded", "trainer.parallel=fsdp", launcher=TORCHRUN), rel=1e-6)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_ranks_agree_on_running_statistics_before_they_evaluate_and_save(
    command, assert_same_bits, tmp_path, parallel
):
    told = ["task.name=rows", "task.norm=true", f"trainer.parallel={parallel}", "trainer.evaluate_every=0"]
    settings = [part for setting in told for part in ("--set", setting)]
    for name in ("whole", "parts"):
        result = command("train", "--no-report", "toy.toml", "--out", name, *settings, launcher=TORCHRUN)
        assert result.returncode == 0, result.stderr
    shutil.rmtree(tmp_path / "parts" / "checkpoints" / "step-000012")
    (tmp_path / "parts" / "result.json").unlink()
    resumed = command("train", "--no-report", "--resume", "parts", launcher=TORCHRUN)
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
    result = command("train", "--no-report", "toy.toml", "--out", "run", *settings, launcher=TORCHRUN)
    assert result.returncode != 0
    assert "the evaluation failed on rank 1: ValueError: this rank has no luck" in result.stderr


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_layer_that_gets_no_gradient_is_named_under_ddp_and_trains_sharded(command, tmp_path, parallel):
    settings = ["--set", f"trainer.parallel={parallel}", "--set", "task.unused_layer=true"]
    result = command("train", "--no-report", "toy.toml", "--out", "run", *settings, launcher=TORCHRUN)
    if parallel == "ddp":
        assert result.returncode != 0
        assert "layer 'spare' takes no part in the loss" in result.stderr
        assert "Expected to have finished reduction" not in result.stderr
    else:
        assert result.returncode == 0, result.stderr
        more = ["--resume", "run", "--set", "trainer.steps=14"]
        assert command("train", "--no-report", *more, launcher=TORCHRUN).returncode == 0
        assert command("train", "--no-report", *more, "--set", "trainer.steps=16").returncode == 0


def test_sharded_ranks_keep_the_best_weights_and_start_from_them(command, tmp_path):
    settings = ["--set", "trainer.parallel=fsdp"]
    rising = ["--set", "trainer.patience=1", "--set", "task.validation_loss_rises=true"]
    early = command(
        "train", "--no-report", "toy.toml", "--out", "early", *settings, *rising, launcher=TORCHRUN
    )
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
    started = command(
        "train", "--no-report", "toy.toml", "--out", "started", *settings, *still, launcher=TORCHRUN
    )
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
    whole = command(*train, "staged.toml", "--out", "whole", launcher=TORCHRUN)
    assert whole.returncode == 0, whole.stderr
    killed = ("--set", "stages.2.task.kill_at_batch=5")
    assert command(*train, "staged.toml", "--out", "parts", *killed, launcher=TORCHRUN).returncode != 0
    alive = ("--set", "task.kill_at_batch=0", "--allow", "kill_at_batch")
    resumed = command(*train, "--resume", "parts", *alive, launcher=TORCHRUN)
    assert resumed.returncode == 0, resumed.stderr
    assert_same_bits(tmp_path / "whole/stages/2", tmp_path / "parts/stages/2")
    for number, parallel in {1: "ddp", 2: "fsdp"}.items():
        environment = json.loads((tmp_path / f"parts/stages/{number}/environment.json").read_text())
        assert (environment["world_size"], environment["parallel"]) == (2, parallel)


def test_two_ranks_end_at_one_step_when_their_time_is_over(command, tmp_path):
    settings = ("--set", "trainer.steps=none", "--set", "trainer.minutes=0.01")
    result = command("train", "--no-report", "toy.toml", "--out", "run", *settings, launcher=TORCHRUN)
    assert result.returncode == 0, result.stderr
    ended = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (ended["status"], ended["reason"]) == ("finished", "trainer.minutes = 0.01 are over")
    newest = open_checkpoint(max((tmp_path / "run" / "checkpoints").glob("step-*")))
    assert (newest.step, newest.processes) == (ended["steps"], 2)
