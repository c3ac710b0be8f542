"""Every registered optimizer, whoever registered it, on three gloo processes: as one with the whole batch.

Reached from here: ``common/sharding.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from graftwork import get_registry

WORLD = 3
JOB = Path(__file__).with_name("contract_job.py")
NAMES = [entry.component.name for entry in get_registry().entries("optimizer")]


Found = list[dict[str, dict[str, float]]]


@pytest.fixture(scope="module")
def found(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    run_job: Callable[..., Found],
) -> Found:
    # The author of one optimizer who asks for it by ``-k`` need not wait for the others.
    tests = (item for item in request.session.items if item.path == request.path)
    names = {item.callspec.params["name"] for item in tests if isinstance(item, pytest.Function)}
    return run_job(JOB, tmp_path_factory.mktemp("contract"), WORLD, *sorted(names))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_many_processes_equal_one(found: Found, name: str, way: str) -> None:
    assert all(rank[name][way] < 1e-9 for rank in found), [rank[name][way] for rank in found]
