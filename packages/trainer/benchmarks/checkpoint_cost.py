"""What the digest and the sync of a checkpoint cost, and how its writing compares with torch's own.

Usage: ``python checkpoint_cost.py [MEGABYTES] [ROUNDS]``. The same weights and AdamW moments are written and
read by turns in each way; the bar is 0.2 s for the digest and the sync of 100 MB.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict

from graftwork_trainer.checkpoint import Checkpoints, TrainingState, open_checkpoint, shard_file
from graftwork_trainer.procedure import Procedure, StepOutcome

BAR_SECONDS_PER_100_MB = 0.2


class NoDigest:
    """In the place of a hash, at no cost."""

    def update(self, data: object) -> None:
        return

    def hexdigest(self) -> str:
        return ""


class Trained(Procedure):
    """A stack of layers with the moments of AdamW."""

    def __init__(self, megabytes: float) -> None:
        self.device = torch.device("cpu")
        layers = max(round(megabytes / 12.6), 1)  # 1024 x 1024 weights and two moments each
        self.model = nn.Sequential(*(nn.Linear(1024, 1024) for _ in range(layers)))
        self.optimizer = torch.optim.AdamW(self.model.parameters())
        self.model(torch.ones(1, 1024)).sum().backward()
        self.optimizer.step()

    def start(self, step: int) -> None:
        return

    def step(self) -> StepOutcome:
        raise NotImplementedError("nothing is trained here")

    def evaluate(self) -> dict[str, float]:
        return {}


def timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def main() -> None:
    megabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 100.0
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    trained = Trained(megabytes)
    state = TrainingState(trained)
    tensors: dict[str, torch.Tensor] = {}
    state.capture(tensors)
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) / 1e6
    model, optimizer = get_state_dict(trained.model, trained.optimizer)
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        store = Checkpoints(folder / "ours", keep=1)

        def plain() -> None:
            """Without the digest and without the sync."""
            with (
                patch.object(hashlib, "sha256", NoDigest),
                patch.object(os, "fsync", lambda descriptor: None),
            ):
                shard_file.write_shard(folder / "plain", tensors)
            (folder / "plain").unlink()

        def full() -> None:
            shard_file.write_shard(folder / "full", tensors)
            (folder / "full").unlink()

        def by_dcp() -> None:
            shutil.rmtree(folder / "dcp", ignore_errors=True)
            dcp.save({"model": model, "optimizer": optimizer}, checkpoint_id=folder / "dcp")

        ways: dict[str, Callable[[], object]] = {
            "file, without digest and sync": plain,
            "file": full,
            "graftwork: save": lambda: store.save(1, state),
            "graftwork: open and restore": lambda: state.restore(open_checkpoint(store.path(1))),
            "torch.distributed.checkpoint.save": by_dcp,
            "torch.save": lambda: torch.save({"model": model, "optimizer": optimizer}, folder / "torch.pt"),
            "safetensors.torch.save_file": lambda: save_file(tensors, folder / "file.safetensors"),
        }
        for _ in range(rounds):
            for way, action in ways.items():
                found.setdefault(way, []).append(timed(action))
    print(f"{size:.0f} MB, {rounds} rounds, median (least to most), seconds")
    for way, seconds in found.items():
        print(f"  {way:36} {statistics.median(seconds):.3f} ({min(seconds):.3f} to {max(seconds):.3f})")
    pairs = zip(found["file"], found["file, without digest and sync"], strict=True)
    extra = [(with_both - without) * 100 / size for with_both, without in pairs]
    spread = statistics.stdev(extra) if len(extra) > 1 else 0.0
    cost = statistics.mean(extra)
    verdict = "met" if cost <= BAR_SECONDS_PER_100_MB else "missed"
    print(
        f"digest and sync: {cost:.3f} +- {spread:.3f} s per 100 MB (bar {BAR_SECONDS_PER_100_MB}: {verdict})"
    )
    ratio = statistics.median(found["graftwork: save"]) / statistics.median(
        found["torch.distributed.checkpoint.save"]
    )
    print(f"save, over torch.distributed.checkpoint.save: {ratio:.2f}")


if __name__ == "__main__":
    main()
