"""A plugin with a convex task: softmax regression, every agent with classes of its own and ten samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graftwork import Component, hookimpl

SAMPLES, FEATURES, CLASSES, DECAY = 10, 4, 3, 0.05


class ToySoftmax:
    """Softmax regression in float64.

    Args:
        batch_size: of one agent; all of its samples where there are no more.
        spread: how far the agents' features are apart.
    """

    metric_directions: ClassVar = {"accuracy": "higher", "loss": "lower"}

    def __init__(self, *, batch_size: int = 2, spread: float = 1.0) -> None:
        self.batch_size, self.spread = batch_size, spread

    def build_model(self) -> nn.Module:
        return nn.Linear(FEATURES, CLASSES).double()

    def samples(self, rank: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(100 + rank)
        centre = torch.randn(FEATURES, generator=generator, dtype=torch.float64)
        features = torch.randn(SAMPLES, FEATURES, generator=generator, dtype=torch.float64)
        labels = torch.randint(0, CLASSES, (SAMPLES,), generator=generator)
        return features + self.spread * centre, labels

    def batches(self, split: str, *, rank: int, world_size: int, seed: int) -> Iterator[Any]:
        features, labels = self.samples(rank)
        generator = torch.Generator().manual_seed(seed * 1000 + rank)
        while True:
            order = torch.randperm(SAMPLES, generator=generator)[: self.batch_size]
            yield {"features": features[order], "labels": labels[order]}

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        decay = sum(parameter.square().sum() for parameter in model.parameters()) * DECAY / 2
        return F.cross_entropy(model(batch["features"]), batch["labels"]) + decay, {}

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> dict[str, float]:
        features, labels = self.samples(999)
        logits = model(features)
        accuracy = (logits.argmax(1) == labels).double().mean()
        return {"loss": float(F.cross_entropy(logits, labels)), "accuracy": float(accuracy)}


@hookimpl
def graftwork_components() -> Iterator[Component]:
    yield Component("task", "toy-softmax", "graftwork_toystudy:ToySoftmax", "convex")
    yield Component("optimizer", "toy-sgd", "torch.optim:SGD", "plain")
