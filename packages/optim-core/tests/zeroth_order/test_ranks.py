"""Several gloo processes, a job for two and a job for three, see zeroth_order_job.py: what they exchange, and
that they take the steps of one."""

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

from graftwork_optim_core.zeroth_order.ranks import Ranks, checksum_of

JOB = Path(__file__).with_name("zeroth_order_job.py")
METHODS = ("inplace", "sidepath", "dual", "mezo")
every = pytest.mark.parametrize("name", METHODS)
in_dtypes = pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, dtype) for name in METHODS for dtype in ("float64", "bfloat16")), ("mezo", "float32")],
)
Found = list[dict[str, Any]]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, run_job: Callable[..., Found]) -> Found:
    return run_job(JOB, tmp_path_factory.mktemp("pair"), 2)


@pytest.fixture(scope="module")
def folder_of_three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("three")


@pytest.fixture(scope="module")
def three(folder_of_three: Path, run_job: Callable[..., Found]) -> Found:
    return run_job(JOB, folder_of_three, 3, "fully_shard", "checkpoint")


def load_job(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    from graftwork_optim_core.zeroth_order import sites

    # The job sets it for its own process.
    monkeypatch.setattr(sites, "LARGEST_HELD", sites.LARGEST_HELD)
    spec = importlib.util.spec_from_file_location("zeroth_order_job", JOB)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Data parallel.


@in_dtypes
def test_10_two_processes_stay_bitwise_equal(pair: Found, name: str, dtype: str) -> None:
    assert all(rank["average"][f"{name}-{dtype}"]["equal"] for rank in pair)


@in_dtypes
def test_10_one_number_a_probe_is_exchanged_and_nothing_else(pair: Found, name: str, dtype: str) -> None:
    for rank in pair:
        traffic = rank["average"][f"{name}-{dtype}"]
        assert traffic["own"] == [["allreduce_", 2 if name == "dual" else 1]]
        assert traffic["within"] == []


@pytest.mark.parametrize(
    ("name", "dtype", "most"),
    [*((name, "float64", 1e-12) for name in METHODS), ("mezo", "float32", 1e-5)],
)
def test_two_processes_take_the_steps_of_one_on_the_joint_batch(
    pair: Found, name: str, dtype: str, most: float
) -> None:
    assert all(rank["average"][f"{name}-{dtype}"]["difference"] < most for rank in pair)


@in_dtypes
def test_a_direction_a_process_is_as_many_probes_in_one(pair: Found, name: str, dtype: str) -> None:
    for rank in pair:
        found = rank["probes"][f"{name}-{dtype}"]
        assert found["equal"]
        assert found["difference"] == 0
        assert found["replayed"] == 0
        # Six steps, two probes in each of two processes.
        assert found["bytes"] == 6 * 4 * (8 if dtype == "float64" else 4)


def test_processes_that_differ_are_found(pair: Found) -> None:
    for rank in pair:
        assert rank["difference"]["error"] == (
            "after step 3 the weights of processes [1] differ from those of process 0: "
            "they must start equal and take every step together"
        )
        # Two steps before the check; without a check all four.
        assert rank["difference"]["steps"] == 2


# Sharded weights.


@every
@pytest.mark.parametrize("head", [13, 2])
def test_sharded_rows_take_the_steps_of_one_process(pair: Found, three: Found, name: str, head: int) -> None:
    for rank in pair + three:
        assert rank["fully_shard"][f"{name}-{head}"] < 1e-12


@every
def test_sharded_weights_are_gathered_by_the_model_alone(pair: Found, three: Found, name: str) -> None:
    for rank in pair + three:
        assert rank["fully_shard"][f"{name}-own"] == [["allreduce_", 1]]
        # Three modules, for each of the two losses.
        assert [kind for kind, _ in rank["fully_shard"][f"{name}-within"]] == ["_allgather_base_"] * 6


def test_rows_are_divided_unevenly_and_a_process_may_have_none(pair: Found, three: Found) -> None:
    assert [rank["fully_shard"]["rows_here"] for rank in three] == [1, 1, 0]
    assert all(rank["fully_shard"]["placed"] for rank in pair + three)


def test_a_checkpoint_of_sharded_weights_goes_on_exactly(pair: Found, three: Found) -> None:
    assert all(rank["checkpoint"]["resumed"] == 0 for rank in pair + three)


def test_a_checkpoint_of_three_loads_in_one(
    three: Found, folder_of_three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = load_job(monkeypatch)
    model = job.make_model()
    optimizer = job.METHODS["inplace"](model.named_parameters(), lr=5.0)
    state = {"model": model.state_dict(), "optimizer": get_optimizer_state_dict(model, optimizer)}
    dcp.load(state, checkpoint_id=str(folder_of_three / "checkpoint"), no_dist=True)
    model.load_state_dict(state["model"])
    set_optimizer_state_dict(model, optimizer, state["optimizer"])
    assert float(optimizer.state[model.up.weight]["step"]) == 4
    job.train(model, optimizer, 4, 9)
    for ours, theirs in zip(model.parameters(), torch.load(folder_of_three / "expected.pt"), strict=True):
        torch.testing.assert_close(ours.detach(), theirs, rtol=0, atol=1e-12)


def test_sharded_columns_are_refused_by_name(pair: Found) -> None:
    for rank in pair:
        assert "parameter 'cut' of shape (18, 24) is placed" in rank["refusal"]["message"]
        assert "shard its first axis" in rank["refusal"]["message"]


# Alone.


def test_without_a_process_group_every_mode_is_alone() -> None:
    for mode in ("none", "average", "probes"):
        ranks = Ranks(mode)  # type: ignore[arg-type]
        slopes = torch.tensor([1.0, 2.0])
        assert (ranks.size, ranks.rank) == (1, 0)
        assert torch.equal(ranks.exchange(slopes), slopes)
        ranks.check_equal([torch.ones(2)], 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_a_digest_sees_every_bit(dtype: torch.dtype) -> None:
    tensors = [torch.zeros(3, 4, dtype=dtype), torch.tensor(1.0, dtype=dtype), torch.zeros(0, dtype=dtype)]
    before = checksum_of(tensors)
    assert checksum_of([tensor.clone() for tensor in tensors]) == before
    tensors[0][2, 3] = -0.0
    assert checksum_of(tensors) != before
    tensors[0][2, 3] = 0.0
    assert checksum_of(tensors) == before
    tensors[1].add_(0.25)
    assert checksum_of(tensors) != before
    assert checksum_of([tensors[0].t()]) == checksum_of([tensors[0].t().contiguous()])
