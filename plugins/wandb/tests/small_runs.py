"""Trainings of milliseconds, in this process or run as a script in another, and what wandb's files have of
them."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import graftwork_wandb.tracker
import torch
from torch import Tensor, nn
from wandb.proto.wandb_internal_pb2 import Record

from graftwork_trainer import train

# The name, magic number and version that a file of wandb begins with; then blocks of records, as in LevelDB.
FILE_HEADER, BLOCK, RECORD_HEADER = 7, 32768, struct.Struct("<IHB")


class Doubling:
    """Learn to double four numbers."""

    unit = "rows"

    def count(self, batch: Tensor) -> int:
        return len(batch)

    def build_model(self) -> nn.Module:
        return nn.Linear(4, 4)

    def batches(self, split: str, *, rank: int, world_size: int, seed: int) -> Any:
        draws = torch.Generator().manual_seed(seed + rank)
        while True:
            yield torch.randn(8, 4, generator=draws)

    def loss(self, model: nn.Module, batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return nn.functional.mse_loss(model(batch), 2 * batch), {}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        return {"loss": float(self.loss(model, torch.ones(2, 4))[0])}


def trained(run: Path, *, steps: int = 4, resume: bool = False, **options: Any) -> dict[str, Any]:
    """Train with the tracker and return how it ended."""
    often = {"log_every": 1, "evaluate_every": 2, "checkpoint_every": 2, "device": "cpu"}
    recipe = {
        "optimizer": {"lr": 0.1},
        "trainer": {
            **often,
            "name": "standard",
            "steps": steps,
            "schedule": "constant",
            "trackers": [{"name": "wandb", **options}],
        },
    }
    train(recipe, run, task=Doubling, optimizer=torch.optim.SGD, resume=resume, quiet=True)
    result: dict[str, Any] = json.loads((run / "result.json").read_text("utf-8"))
    return result


def trained_elsewhere(
    run: Path,
    *launcher: str,
    variables: dict[str, str] | None = None,
    terminal: int | None = None,
    **options: Any,
) -> Any:
    """Train in another process, which has no key of wandb and little patience; at a terminal if told so."""
    home = run.parent / "home"
    home.mkdir()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    streams: tuple[int | None, int] = (None, subprocess.PIPE) if terminal is None else (terminal, terminal)
    return subprocess.run(
        [sys.executable, *launcher, __file__, str(run), json.dumps(options)],
        stdin=streams[0],
        stdout=streams[1],
        stderr=streams[1],
        text=True,
        env={**inherited, "OMP_NUM_THREADS": "1", "HOME": str(home), **(variables or {})},
        check=False,
        timeout=120,
    )


def parts(run: Path) -> list[list[Any]]:
    """The records of every part of a run, in the order they were made."""
    files = sorted(run.glob("wandb/*run-*/*.wandb"), key=lambda file: file.stat().st_mtime_ns)
    return [_records(file.read_bytes()) for file in files]


def history(records: list[Any]) -> list[dict[str, Any]]:
    """What was logged, one mapping a step."""
    lines = []
    for record in records:
        if record.HasField("history"):
            items = record.history.item
            lines.append({item.key or item.nested_key[0]: json.loads(item.value_json) for item in items})
    return lines


def about(records: list[Any]) -> Any:
    """Name, project, configuration and the like."""
    return next(record.run for record in records if record.HasField("run"))


def _records(content: bytes) -> list[Any]:
    records, message, place = [], b"", FILE_HEADER
    while place + RECORD_HEADER.size <= len(content):
        if BLOCK - place % BLOCK < RECORD_HEADER.size:  # the rest of a block that holds no further header
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = RECORD_HEADER.unpack_from(content, place)
        place += RECORD_HEADER.size
        message += content[place : place + length]
        place += length
        if kind in (1, 4):  # whole, or the last piece
            records.append(Record.FromString(message))
            message = b""
    return records


if __name__ == "__main__":
    graftwork_wandb.tracker._PATIENCE_SECONDS = 2.0
    torch.set_num_threads(1)
    trained(Path(sys.argv[1]), **json.loads(sys.argv[2]))
