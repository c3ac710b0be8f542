"""Weights sharded over three gloo processes: one job for the whole file, see distributed_job.py."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

WORLD = 3
JOB = Path(__file__).with_name("distributed_job.py")
THIRD = "third_of_the_family"

RunJob = Callable[..., list[dict[str, Any]]]


def load_job() -> ModuleType:
    spec = importlib.util.spec_from_file_location("distributed_job", JOB)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


JOB_NAMES = list(load_job().FAMILY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("job")


@pytest.fixture(scope="module")
def found(folder: Path, run_job: RunJob) -> list[dict[str, Any]]:
    return run_job(JOB, folder, WORLD, *(name for name in load_job().CHECKS if name != THIRD))


@pytest.mark.parametrize("world", [pytest.param(1, marks=pytest.mark.lengths), 2])
def test_fewer_processes_equal_one_as_well(tmp_path: Path, world: int, run_job: RunJob) -> None:
    # A process alone divides nothing: what it gathers and sums is the same for the whole family.
    checks = ("fully_shard", THIRD) if world > 1 else ("fully_shard",)
    for rank in run_job(JOB, tmp_path, world, *checks):
        assert all(rank["fully_shard"][mode] < 1e-12 for mode in ("loop", "foreach", "capturable"))
        assert rank["fully_shard"]["all_reduces_a_step"] == (1 if world > 1 else 0)
        if world > 1:
            assert all(rank[THIRD][name] < 1e-12 for name in JOB_NAMES[::3])
            assert all(rank[THIRD][f"{name}_skips"] == 1 for name in JOB_NAMES[::3])


@pytest.mark.parametrize("mode", ["loop", "foreach", "capturable"])
def test_p4_fully_sharded_equals_one_process(found: list[dict[str, Any]], mode: str) -> None:
    assert all(rank["fully_shard"][mode] < 1e-12 for rank in found)


@pytest.mark.parametrize("name", JOB_NAMES)
def test_sharded_rows_equal_one_process(found: list[dict[str, Any]], name: str) -> None:
    for rank in found:
        assert rank["family"][name] < 1e-12
        assert rank["family"][f"{name}_skips"] == 1


@pytest.mark.parametrize(
    "name", ["galore-left-gram", "galore-right-power", "golore-adamw", "galore-adafactor"]
)
def test_bases_saved_by_three_load_in_two_and_in_one(
    found: list[dict[str, Any]], folder: Path, name: str
) -> None:
    assert all(rank["family_checkpoints"][name] < 1e-12 for rank in found)
    job = load_job()
    model = job.make_model()
    optimizer = job.FAMILY[name](job.selected(model))
    state = {"model": model.state_dict(), "optimizer": get_optimizer_state_dict(model, optimizer)}
    dcp.load(state, checkpoint_id=str(folder / name), no_dist=True)
    set_optimizer_state_dict(model, optimizer, state["optimizer"])
    job.train(model, optimizer, 4, 8)
    for ours, theirs in zip(model.parameters(), torch.load(folder / f"{name}.pt"), strict=True):
        torch.testing.assert_close(ours.detach(), theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["gwt", "galore"])
def test_per_parameter_mode_under_fully_shard(found: list[dict[str, Any]], name: str) -> None:
    for rank in found:
        assert rank["in_backward"][name] < 1e-12
        assert rank["in_backward"][f"{name}_freed"]


def test_shards_are_uneven_and_one_is_empty(found: list[dict[str, Any]]) -> None:
    assert [rank["fully_shard"]["rows_of_the_head_here"] for rank in found] == [1, 1, 0]


def test_one_all_reduce_a_step(found: list[dict[str, Any]]) -> None:
    assert [rank["fully_shard"]["all_reduces_a_step"] for rank in found] == [1] * WORLD


def test_state_is_placed_like_the_parameter(found: list[dict[str, Any]]) -> None:
    assert all(rank["fully_shard"]["placements_kept"] for rank in found)
    assert all(rank["fully_shard"]["state_shape"] == [7, 3] for rank in found)


@pytest.mark.parametrize("mode", ["loop", "capturable"])
def test_h5_a_nan_in_one_shard_skips_the_weight_everywhere(found: list[dict[str, Any]], mode: str) -> None:
    for rank in found:
        assert rank["non_finite"][mode] < 1e-12
        assert rank["non_finite"][f"{mode}_skips"] == 1
        assert rank["non_finite"][f"{mode}_steps"] == 2


def test_a_checkpoint_of_three_loads_in_two(found: list[dict[str, Any]]) -> None:
    assert all(rank["checkpoint"]["pair"] < 1e-12 for rank in found)


def test_a_checkpoint_of_three_loads_in_one(found: list[dict[str, Any]], folder: Path) -> None:
    job = load_job()
    model = job.make_model()
    optimizer = job.make_optimizer(model)
    state = {"model": model.state_dict(), "optimizer": get_optimizer_state_dict(model, optimizer)}
    dcp.load(state, checkpoint_id=str(folder / "checkpoint"), no_dist=True)
    set_optimizer_state_dict(model, optimizer, state["optimizer"])
    assert float(optimizer.state[model.mlp[0].weight]["step"]) == 4
    job.train(model, optimizer, 4, 7)
    for ours, theirs in zip(model.parameters(), torch.load(folder / "expected.pt"), strict=True):
        torch.testing.assert_close(ours.detach(), theirs, rtol=0, atol=1e-12)


def test_sharded_columns_are_exact_where_no_block_is_cut(found: list[dict[str, Any]]) -> None:
    for rank in found:
        assert rank["columns"]["difference"] < 1e-12
        assert rank["columns"]["state_shape"] == [5, 6]
        assert (
            "parameter 'cut' of shape (5, 18) is sharded S(1) over 3 processes, 6 along"
            in rank["columns"]["refusal"]
        )
        assert "multiple of 4, the columns of a block" in rank["columns"]["refusal"]


def test_flattened_views_of_fully_sharded_data_parallel_are_refused() -> None:
    from graftwork_optim_core import GWTAdamW

    view = torch.nn.Parameter(torch.zeros(12))
    view._fsdp_flattened = True
    with pytest.raises(ValueError, match="'flat' is a flattened view made by FullyShardedDataParallel"):
        GWTAdamW([("flat", view)])
