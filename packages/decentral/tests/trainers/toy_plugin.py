"""A plugin with a task of small networks: batches are named tuples, and one metric has no direction."""

from __future__ import annotations

import itertools
from collections import OrderedDict, namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from graftwork import Component, Kind, hookimpl

Pair = namedtuple("Pair", "inputs targets")


class Lines:
    """Every agent fits a line of its own, after a norm over the batch.

    Args:
        head_lr: learning rate of the head alone.
        spoilt: an agent whose third batch is infinite; -1 for none.
    """

    metric_directions: ClassVar = {"mse": "lower", "fit": "higher"}

    def __init__(self, *, head_lr: float = 0.1, spoilt: int = -1) -> None:
        self.head_lr, self.spoilt = head_lr, spoilt

    def build_model(self) -> nn.Module:
        return nn.Sequential(OrderedDict(norm=nn.BatchNorm1d(3), head=nn.Linear(3, 1)))

    def parameter_groups(self, model: Any) -> list[dict[str, Any]]:
        head = {"params": list(model.head.parameters()), "lr": self.head_lr}
        return [head, {"params": list(model.norm.parameters())}]

    def batches(self, split: str, *, rank: int, world_size: int, seed: int) -> Iterator[Pair]:
        generator = torch.Generator().manual_seed(1000 * seed + rank)
        for number in itertools.count(1):
            inputs = torch.randn(8, 3, generator=generator)
            if split == "train" and (rank, number) == (self.spoilt, 3):
                inputs *= torch.inf
            yield Pair(inputs, inputs.sum(1, keepdim=True) * (rank + 1))

    def loss(self, model: nn.Module, batch: Pair) -> tuple[Tensor, dict[str, Tensor]]:
        return (model(batch.inputs) - batch.targets).square().mean(), {}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        batch = next(self.batches("validation", rank=0, world_size=1, seed=7))
        loss = float(self.loss(model, batch)[0])
        trains = float(model.training or torch.is_grad_enabled())
        return {"loss": loss, "mse": loss, "fit": -loss, "trains": trains}

    def artefacts(self, model: nn.Module, folder: Path) -> None:
        (folder / "weights.txt").write_text(str(model.head.weight.tolist()))

    def facts(self) -> dict[str, int]:
        return {"lines": 8}


def of_words(vocab_size: int) -> nn.Module:
    return nn.Embedding(vocab_size, 4)


@hookimpl
def graftwork_components() -> Iterator[Component]:
    yield Component(Kind.TASK, "lines", "graftwork_lines:Lines", "lines")
    yield Component(Kind.MODEL, "of-words", "graftwork_lines:of_words", "no model of images")
    yield Component(Kind.OPTIMIZER, "plain-adamw", "torch.optim:AdamW", "torch's own")
