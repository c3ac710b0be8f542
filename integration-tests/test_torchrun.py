"""Pretraining with GWT under torchrun: two processes do what one does, and sharded runs resume exactly."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from graftwork.testing import write_plugin
from graftwork_trainer.checkpoint import open_checkpoint

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "graftwork")
SEQUENCES_PER_STEP = 8
GWT = {"optimizer__name": "gwt-adamw", "trainer__checkpoint_every": 3}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def trained(
    runs: Path,
    small: Callable[..., list[str]],
    environment_here: Callable[[Path], Any],
    fork_in: Callable[..., list[Any]],
) -> Callable[[str], Path]:
    """A run on one process, or on two that share the same batches, sharded or, by torchrun itself, not."""

    def command(parallel: str, ranks: int) -> list[str]:
        options = small(**GWT, task__batch_size=SEQUENCES_PER_STEP // ranks, trainer__parallel=parallel)
        return ["train", "lm-pretrain", "--no-report", "--out", parallel, *options]

    def train(parallel: str) -> Path:
        if not (runs / parallel).exists():
            if parallel == "ddp":
                result = environment_here(runs).command(*command("ddp", 2), launcher=TORCHRUN)
                assert result.returncode == 0, result.stderr
            else:
                for ended in fork_in(runs, (command("auto", 1), 1), (command("fsdp", 2), 2)):
                    assert set(map(tuple, ended.codes.values())) == {(0,)}, ended.words
        return runs / parallel

    return train


def flatten(tree: dict[str, Any], path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{path}.{key}")
        elif isinstance(value, torch.Tensor):
            yield f"{path}.{key}", value


def saved_tensors(run: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a run's last checkpoint, whatever number of processes wrote it."""
    newest = max((run / "checkpoints").iterdir())
    assert newest.name == "step-000008"
    return dict(flatten(open_checkpoint(newest).part("model", "optimizer", "processes")))


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_train_like_one(
    parallel: str,
    trained: Callable[[str], Path],
    read_result: Callable[[Path], dict[str, Any]],
    read_losses: Callable[[Path], list[float]],
    tmp_path: Path,
) -> None:
    one, two = trained("auto"), trained(parallel)
    environment = json.loads((two / "environment.json").read_text("utf-8"))
    assert (environment["world_size"], environment["parallel"]) == (2, parallel)
    assert read_losses(two) == pytest.approx(read_losses(one), rel=1e-5)
    alone, shared = read_result(one), read_result(two)
    assert shared["metrics"]["validation/loss"] == pytest.approx(
        alone["metrics"]["validation/loss"], rel=1e-5
    )
    assert alone["metrics"]["validation/loss"] < read_losses(one)[0]

    weights, others = saved_tensors(one), saved_tensors(two)
    names = [name for name in weights if ".processes." not in name]
    assert len(names) > 40
    for name in names:
        torch.testing.assert_close(others[name], weights[name], rtol=1e-3, atol=1e-5)
    if parallel == "fsdp":
        assert shared["optimizer_state_bytes"] < 0.7 * alone["optimizer_state_bytes"]


def test_sharded_training_killed_and_resumed_ends_with_the_same_bits(
    runs: Path,
    trained: Callable[[str], Path],
    environment_here: Callable[..., Any],
    forked: Callable[..., Any],
    small: Callable[..., list[str]],
    read_losses: Callable[[Path], list[float]],
    tmp_path: Path,
) -> None:
    whole = trained("fsdp")
    write_plugin(tmp_path, "mortal", (Path(__file__).parent / "mortal.py").read_text("utf-8"))
    here = environment_here(tmp_path, PYTHONPATH=str(tmp_path))
    inner = small(**GWT, task__batch_size=SEQUENCES_PER_STEP // 2, trainer__parallel="fsdp")
    options = [part.replace("task.", "task.inner.", 1) for part in inner]
    options += ["--set", "task.name=mortal", "--set", "task.inner.name=lm-pretrain"]

    arguments = ["--no-report", "--out", "parts", *options, "--set", "task.kill_at_batch=6"]
    killed = here.command("train", "lm-pretrain", *arguments, launcher=TORCHRUN)
    assert killed.returncode != 0
    assert "SIGKILL" in killed.stderr
    parts = tmp_path / "parts"
    assert [path.name for path in (parts / "checkpoints").iterdir()] == ["step-000003"]
    assert len(read_losses(parts)) < 8

    resume = ["--no-report", "--resume", "parts", "--set", "task.kill_at_batch=0", "--allow", "kill_at_batch"]
    resumed = forked("train", *resume, processes=2, plugins=[tmp_path])
    assert resumed.codes == {0: [0], 1: [0]}, resumed.words
    expected, found = saved_tensors(whole), saved_tensors(parts)
    assert found.keys() == expected.keys()
    assert len(found) > 40
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    assert read_losses(parts) == read_losses(whole)


def test_golore_stepping_in_the_backward_pass_of_sharded_weights_trains_like_one_process(
    fork_in: Callable[..., list[Any]],
    small: Callable[..., list[str]],
    read_losses: Callable[[Path], list[float]],
    tmp_path: Path,
) -> None:
    golore = {
        "optimizer__name": "golore-adamw",
        "optimizer__rank": 8,
        "optimizer__refresh_every": 2,
        "optimizer__random_last": 0.5,
        "optimizer__side": "right",
        "trainer__clip_norm": "none",
    }
    sharded = {"trainer__parallel": "fsdp", "trainer__step_in_backward": "true"}
    one = small(**golore, task__batch_size=SEQUENCES_PER_STEP)
    two = small(**golore, **sharded, task__batch_size=SEQUENCES_PER_STEP // 2)
    train = ["train", "lm-pretrain", "--no-report", "--out"]
    for ended in fork_in(tmp_path, ([*train, "one", *one], 1), ([*train, "two", *two], 2)):
        assert set(map(tuple, ended.codes.values())) == {(0,)}, ended.words
    assert read_losses(tmp_path / "two") == pytest.approx(read_losses(tmp_path / "one"), rel=1e-4)
