"""Starting points on disk: taken as they were written, or refused; never run."""

from __future__ import annotations

import os
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from graftwork import GraftworkError
from graftwork_decentral.flatness.study.starts import read_start, write_start


@pytest.fixture
def state() -> dict[str, Tensor]:
    weight = torch.randn(3, 4)
    return {
        "weight": weight,
        "tied": weight,
        "turned": torch.randn(3, 4).T,
        "half": torch.randn(5).bfloat16(),
        "steps": torch.tensor(7),
        "empty": torch.zeros(0, 2),
    }


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_read_is_what_was_written(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "starts" / "seed-0.safetensors"
    write_start(path, state)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert same(read_start(path, state), state)


def test_no_flipped_bit_is_started_from(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "seed-0.safetensors"
    write_start(path, state)
    whole = path.read_bytes()
    draw = random.Random(0)
    refused = 0
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        with suppress(GraftworkError):
            # What is left to read are blanks in the header, or the name of its metadata.
            assert same(read_start(path, state), state)
            continue
        refused += 1
    assert refused > len(whole) - 16
    path.write_bytes(whole[:-1])
    with pytest.raises(GraftworkError, match=r"seed-0.*is no starting point .*delete it to train"):
        read_start(path, state)


def test_another_models_weights_are_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "seed-0.safetensors"
    write_start(path, state)
    with pytest.raises(GraftworkError, match="weights of another model; delete it"):
        read_start(path, {**state, "half": state["half"].float()})


class _Touches:
    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self._marker}",)


def test_a_planted_pickle_is_not_run(make_study: Any, tmp_path: Path) -> None:
    study = make_study(methods=("centralized",), start_steps=1, steps=1, measure=())
    study.run(tmp_path)
    marker = tmp_path / "marker"
    torch.save({"head.weight": _Touches(marker)}, tmp_path / "starts" / "seed-0.safetensors")
    (tmp_path / "rows.jsonl").unlink()
    with pytest.raises(GraftworkError, match=r"seed-0\.safetensors: is no starting point"):
        make_study(methods=("centralized",), start_steps=1, steps=1, measure=()).run(tmp_path)
    assert not marker.exists()
