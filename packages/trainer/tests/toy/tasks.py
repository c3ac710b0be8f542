"""A small regression, and what is a little otherwise in each of some tests."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import torch
from graftwork_toy.files import fill
from torch import nn


class Regression:
    """A two-layer network with dropout on a fixed function; batches without `skip`, so that resuming draws
    them."""

    unit = "rows"

    def __init__(
        self,
        *,
        batch_size: int = 8,
        dropout: float = 0.5,
        kill_at_batch: int = 0,
        infinite_from_batch: int = 0,
        pause_seconds: float = 0.0,
        missing_file: str = "",
        fill_disk_at_batch: int = 0,
        fill_disk_at: str = "",
        ends_after: int = 0,
        validation_loss_rises: bool = False,
        offset_at_root: bool = False,
        unused_layer: bool = False,
        rows: str = "without end",
    ) -> None:
        self.batch_size = batch_size
        self.dropout = dropout
        self.kill_at_batch = kill_at_batch
        self.infinite_from_batch = infinite_from_batch
        self.pause_seconds = pause_seconds
        self.missing_file = missing_file
        self.fill_disk_at_batch = fill_disk_at_batch
        self.fill_disk_at = Path(fill_disk_at)
        self.ends_after = ends_after
        self.validation_loss_rises = validation_loss_rises
        self.offset_at_root = offset_at_root
        self.unused_layer = unused_layer
        self.rows = rows
        self.evaluations = 0

    def count(self, batch):
        return len(batch["inputs"])

    def facts(self):
        return {"rows": self.rows}

    def build_model(self):
        blocks = nn.ModuleList([nn.Linear(4, 16), nn.Linear(16, 3)])
        model = nn.Sequential()
        model.blocks = blocks
        model.dropout = nn.Dropout(self.dropout)
        model.forward = lambda x: blocks[1](model.dropout(torch.tanh(blocks[0](x))))
        if self.unused_layer:
            model.spare = nn.Linear(3, 3)
        if self.offset_at_root:
            # A parameter of no block, as embeddings are.
            model.offset = nn.Parameter(torch.zeros(4))
            model.forward = lambda x: blocks[1](model.dropout(torch.tanh(blocks[0](x + model.offset))))
        return model

    def batches(self, split, *, rank, world_size, seed):
        if self.missing_file:
            Path(self.missing_file).read_text()
        number = 0
        while not self.ends_after or number < self.ends_after:
            number += 1
            time.sleep(self.pause_seconds)
            if number == self.kill_at_batch:
                os.kill(os.getpid(), signal.SIGKILL)
            if number == self.fill_disk_at_batch:
                fill(self.fill_disk_at)
            generator = torch.Generator().manual_seed(seed * 10_000 + number)
            inputs = torch.randn(self.batch_size * world_size, 4, generator=generator)
            if self.infinite_from_batch and number >= self.infinite_from_batch:
                inputs = inputs * float("inf")
            mine = inputs[rank * self.batch_size : (rank + 1) * self.batch_size]
            yield {"inputs": mine, "targets": torch.sin(mine[:, :3])}

    def loss(self, model, batch):
        loss = nn.functional.mse_loss(model(batch["inputs"]), batch["targets"])
        return loss, {"root": loss.detach().sqrt()}

    def evaluate(self, model):
        model.eval()
        with torch.no_grad():
            inputs = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
            loss = nn.functional.mse_loss(model(inputs), torch.sin(inputs[:, :3]))
        self.evaluations += 1
        return {"loss": float(loss) + (self.evaluations if self.validation_loss_rises else 0)}


class Watching(Regression):
    """Notes the mode it is evaluated in; never sets one. Keeps its last layer in evaluation mode."""

    def __init__(self, *, dropout: float = 0.5, artefacts_fail: bool = False) -> None:
        super().__init__(dropout=dropout)
        self.artefacts_fail = artefacts_fail
        self.seen = []

    def loss(self, model, batch):
        model.blocks[1].eval()
        return super().loss(model, batch)

    def evaluate(self, model):
        self.seen.append((model.training, torch.is_grad_enabled()))
        inputs = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
        return {"loss": nn.functional.mse_loss(model(inputs), torch.sin(inputs[:, :3]))}

    def artefacts(self, model, folder):
        if self.artefacts_fail:
            raise ValueError("no ink")
        text = f"training {model.training}, gradients {torch.is_grad_enabled()}"
        (folder / "modes.txt").write_text(text)


class Grouped(Regression):
    """Trains its first layer at a tenth of the rate that a group of its own says, and its last not at all."""

    def __init__(self, *, batch_size: int = 8) -> None:
        super().__init__(batch_size=batch_size)

    def parameter_groups(self, model):
        first, last = model.blocks
        return [
            {"params": list(first.parameters()), "lr": 0.05},
            {"params": list(last.parameters()), "lr": 0.0},
        ]


class Augmented(Regression):
    """Adds noise of the global generator to its batches, which cannot be passed over but by drawing them."""

    def batches(self, split, *, rank, world_size, seed):
        for batch in super().batches(split, rank=rank, world_size=world_size, seed=seed):
            yield {**batch, "inputs": batch["inputs"] + 0.1 * torch.randn_like(batch["inputs"])}


class Drawing(Regression):
    """Draws from the global generator when it is evaluated; calls a metric of training `loss`."""

    def __init__(self, *, metric: str = "loss", directions: str = "lower", groups: str = "") -> None:
        super().__init__()
        self.metric = metric
        self.metric_directions = {metric: directions}
        self.groups = groups

    def loss(self, model, batch):
        return super().loss(model, batch)[0], {"loss": 123.0}

    def evaluate(self, model):
        torch.randn(3)
        return {self.metric: super().evaluate(model)["loss"]}

    def parameter_groups(self, model):
        if self.groups == "parameters":
            return model.parameters()
        settings = {"learning_rate": 5.0} if self.groups else {}
        return [{"params": model.parameters(), **settings}]
