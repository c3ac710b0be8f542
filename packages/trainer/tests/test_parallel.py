"""Two ranks do what one process does on the whole batch.

Reached from here: ``parallel.py``, ``checkpoint/ranks.py``.
"""

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
    # Activations that are made again, beside DDP's and FSDP2's hooks, change nothing either.
    again = ["--set", "trainer.gradient_checkpointing=true"]
    settings = ["--set", f"trainer.parallel={parallel}", *again, *EXACT]
    # Under the real torchrun once.
    by = {"launcher": TORCHRUN} if parallel == "ddp" else {"ranks": 2}
    result = command("train", "--no-report", "toy.toml", "--out", parallel, *settings, **by)
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
                   "--set", f"trainer.parallel={parallel}", ranks=2)  # fmt: skip
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


def sharing(command, tmp_path, name, *settings, ranks=1):
    """Train without dropout and return what each rank's optimizer saw."""
    told = ["optimizer.name=sharing", f"optimizer.seen={name}", *settings]
    options = [*EXACT, *(part for setting in told for part in ("--set", setting))]
    result = command("train", "--no-report", "toy.toml", "--out", name, *options, ranks=ranks)
    assert result.returncode == 0, result.stderr
    files = sorted(tmp_path.glob(f"{name}-*.jsonl"))
    return [[json.loads(line) for line in file.read_text().splitlines()] for file in files]


def test_an_optimizer_that_averages_itself_sees_the_losses_of_its_rank_alone(command, saved_bits, tmp_path):
    alone = sharing(command, tmp_path, "alone", "task.batch_size=16")
    pair = sharing(command, tmp_path, "pair", ranks=2)
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
    pair = sharing(command, tmp_path, "pair", *settings, ranks=2)
    for whole, first, second in zip(*alone, *pair, strict=True):
        assert first[0] == "probes"
        assert first[2:] == second[2:]
        assert first[2:] == pytest.approx(whole[2:], rel=1e-6)


def test_rows_of_two_ranks_make_the_metrics_of_one(command, tmp_path):
    def metrics(name, *settings, ranks=1):
        # At a rate of 0 the weights stay what they are at the start, in one process as in two.
        told = ["task.name=rows", "optimizer.lr=0.0", "trainer.steps=2", *settings]
        options = [part for setting in told for part in ("--set", setting)]
        result = command("train", "--no-report", "toy.toml", "--out", name, *options, ranks=ranks)
        assert result.returncode == 0, result.stderr
        return json.loads((tmp_path / name / "result.json").read_text())["metrics"]

    alone = metrics("alone")
    assert alone == metrics("pair", ranks=2)
    assert alone == metrics("stream", "task.as_iterator=true", ranks=2)
    assert alone == pytest.approx(metrics("sharded", "trainer.parallel=fsdp", ranks=2), rel=1e-6)
