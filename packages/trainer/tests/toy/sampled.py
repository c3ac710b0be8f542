"""Tasks of a dataset, and of a DataLoader."""

from __future__ import annotations

import os
import random
import signal

import numpy as np
import torch
from graftwork_toy.datasets import DATASETS, Numbered
from graftwork_toy.files import note
from graftwork_toy.tasks import Regression
from torch.utils.data import (
    DataLoader,
    DistributedSampler,
    RandomSampler,
    default_collate,
)


class Sampled(Regression):
    """Trains on a dataset of 37 samples, and is evaluated by rows on one of 11."""

    def __init__(
        self,
        *,
        batch_size: int = 4,
        dropout: float = 0.5,
        kind: str = "numbered",
        samples: int = 37,
        mishap: str = "",
        mishap_at: int = 17,
        seen: str = "",
        random: bool = True,
    ) -> None:
        super().__init__(batch_size=batch_size, dropout=dropout)
        self.kind, self.samples, self.random = kind, samples, random
        self.mishap, self.mishap_at, self.seen = mishap, mishap_at, seen

    def dataset(self, split):
        if split != "train":
            return Numbered(self, 11)
        return DATASETS[self.kind](self, self.samples)

    def sample(self, number):
        if self.mishap and number == self.mishap_at:
            self.happen()
        inputs = torch.sin(torch.arange(4) + number)
        if self.random:
            noise = [torch.rand(()).item(), np.random.random(), random.random()]
            inputs = inputs + 0.1 * torch.tensor([*noise, sum(noise)])
        length = 4 if self.mishap == "longer" and number == self.mishap_at else 3
        return {"inputs": inputs, "targets": torch.sin(inputs[:length]), "sample": number}

    def happen(self):
        match self.mishap:
            case "raises":
                raise ValueError("no such picture")
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "kills the training":
                os.kill(os.getppid(), signal.SIGKILL)
            case "stopped":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "exits":
                os._exit(3)
            case "bus error":
                os.kill(os.getpid(), signal.SIGBUS)

    def collate(self, samples):
        batch = default_collate(samples)
        if self.random:
            batch["inputs"] += 0.01 * torch.rand(())
        return batch

    def loss(self, model, batch):
        # Each rank is handed its own share, so that all of them together are what was seen.
        note(self.seen, " ".join(map(str, batch["sample"].tolist())))
        return super().loss(model, batch)

    def evaluate_rows(self, model, batch):
        errors = (model(batch["inputs"]) - batch["targets"]).square().mean(1)
        return {"error": errors, "sample": batch["sample"]}

    def metrics(self, rows):
        assert rows["sample"].tolist() == list(range(11))
        return {"loss": rows["error"].double().mean()}


class Loader(Sampled):
    """The same in torch's own DataLoader, as one writes it; drawn with repetition, in an order of its own."""

    def __init__(
        self,
        *,
        batch_size: int = 4,
        dropout: float = 0.5,
        kind: str = "numbered",
        order: str = "shuffled",
        loader_workers: int = 0,
        seen: str = "",
    ) -> None:
        super().__init__(batch_size=batch_size, dropout=dropout, kind=kind, seen=seen)
        self.order, self.loader_workers = order, loader_workers

    dataset = None

    def batches(self, split, *, rank, world_size, seed):
        held_out = split != "train"
        data = Numbered(self, 11) if held_out else DATASETS[self.kind](self, self.samples)
        given = {
            "batch_size": self.batch_size,
            "num_workers": self.loader_workers,
            "collate_fn": self.collate,
        }
        match "in order" if held_out or self.kind != "numbered" else self.order:
            case "in order":
                return DataLoader(data, **given)
            case "shuffled":
                return DataLoader(data, shuffle=True, **given)
            case "repeated":
                return DataLoader(data, sampler=RandomSampler(data, replacement=True), **given)
            case "dealt out":
                sampler = DistributedSampler(data, num_replicas=world_size, rank=rank)
                return DataLoader(data, sampler=sampler, **given)
