"""A task that is evaluated row by row."""

from __future__ import annotations

import os
from typing import ClassVar

import torch
from graftwork_toy.tasks import Regression
from torch import nn


class Rows(Regression):
    """Evaluated by rows: 37 numbered examples in another order, batches of 5, a metric that is no mean."""

    metric_directions: ClassVar = {"agreement": "higher", "loss": "lower"}

    def __init__(
        self, *, batch_size: int = 8, as_iterator: bool = False, fails_on_rank: int = -1, norm: bool = False
    ) -> None:
        super().__init__(batch_size=batch_size, dropout=0.0)
        self.norm = norm
        self.as_iterator = as_iterator
        self.fails_on_rank = fails_on_rank

    def build_model(self):
        model = super().build_model()
        if self.norm:
            plain = model.forward
            model.norm = nn.BatchNorm1d(4)
            model.forward = lambda x: plain(model.norm(x))
        return model

    def batches(self, split, *, rank, world_size, seed):
        if split == "train":
            return super().batches(split, rank=rank, world_size=world_size, seed=seed)
        generator = torch.Generator().manual_seed(2)
        inputs, order = torch.randn(37, 4, generator=generator), torch.randperm(37, generator=generator)
        batches = [{"inputs": inputs[rows], "sample": rows} for rows in order.split(5)]
        batches = batches[rank::world_size]
        return iter(batches) if self.as_iterator else batches

    def evaluate_rows(self, model, batch):
        if int(os.environ.get("RANK", "0")) == self.fails_on_rank:
            raise ValueError("this rank has no luck")
        inputs = batch["inputs"]
        targets = torch.sin(inputs[:, :3])
        return {
            "sample": batch["sample"],
            "error": (model(inputs) - targets).square().mean(1),
            "first": model(inputs)[:, 0],
            "target": targets[:, 0],
            "name": [f"row {number}" for number in batch["sample"].tolist()],
        }

    def metrics(self, rows):
        assert rows["name"] == [f"row {number}" for number in range(37)]
        ranks = [rows[name].argsort().argsort().double() for name in ("first", "target")]
        return {
            "agreement": torch.corrcoef(torch.stack(ranks))[0, 1],
            "loss": rows["error"].double().mean(),
        }
