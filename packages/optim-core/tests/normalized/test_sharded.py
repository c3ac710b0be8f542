"""Normalized optimizers over two gloo processes: one job for the whole file, see sharded_job.py.

Reached from here: ``normalized/norms.py``.
"""

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

WORLD = 2
JOB = Path(__file__).with_name("sharded_job.py")


def load_job() -> ModuleType:
    spec = importlib.util.spec_from_file_location("normalized_sharded_job", JOB)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NAMES = list(load_job().FAMILY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("normalized")


@pytest.fixture(scope="module")
def found(folder: Path, run_job: Callable[..., list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return run_job(JOB, folder, WORLD)


@pytest.mark.parametrize("name", NAMES)
def test_15_sharded_over_two_processes_as_in_one(found: list[dict[str, Any]], name: str) -> None:
    for rank in found:
        assert rank["fully_shard"][name] < 1e-11
        assert rank["fully_shard"][f"{name} skips"] == 1


@pytest.mark.parametrize("name", NAMES)
def test_15_replicated_over_two_processes_as_in_one(found: list[dict[str, Any]], name: str) -> None:
    assert all(rank["data_parallel"][name] < 1e-11 for rank in found)


@pytest.mark.parametrize("norm", ["global", "per_tensor"])
def test_rows_columns_replicas_and_plain_tensors_count_once(found: list[dict[str, Any]], norm: str) -> None:
    assert all(rank["mixed"][norm] < 1e-12 for rank in found)


def test_evaluation_of_sharded_parameters(found: list[dict[str, Any]]) -> None:
    for rank in found:
        assert rank["evaluation"]["evaluated"] < 1e-11
        assert rank["evaluation"]["trained"] < 1e-11


@pytest.mark.parametrize("name", ["nsgdc", "nsgdc-vr", "a-nsgdc"])
def test_a_checkpoint_of_two_goes_on_in_two_and_in_one(
    found: list[dict[str, Any]], folder: Path, name: str
) -> None:
    assert all(rank["checkpoint"][name] == 0.0 for rank in found)
    assert found[0]["checkpoint"][f"{name} placed"]
    job = load_job()
    model = job.make_model()
    optimizer = job.FAMILY[name](model.parameters())
    state = {"model": model.state_dict(), "optimizer": get_optimizer_state_dict(model, optimizer)}
    dcp.load(state, checkpoint_id=str(folder / name), no_dist=True)
    model.load_state_dict(state["model"])
    set_optimizer_state_dict(model, optimizer, state["optimizer"])
    job.train(model, optimizer, 4, 8)
    for ours, theirs in zip(model.parameters(), torch.load(folder / f"{name}.pt"), strict=True):
        torch.testing.assert_close(ours.detach(), theirs, rtol=0, atol=1e-11)
