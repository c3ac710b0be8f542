"""Optimizers that need no gradients."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor, distribute_tensor


class Evolution(torch.optim.Optimizer):
    """Two-point zeroth-order descent: asks for the loss twice a step, never for a gradient."""

    closure = "loss"

    def __init__(self, params, lr: float = 0.05, scale: float = 1e-2) -> None:
        super().__init__(params, {"lr": lr, "scale": scale})
        self.generator_seed = 0
        self.losses: list[list[float]] = []
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["step"] = torch.zeros(())

    def _shift(self, seed, factor):
        generator = torch.Generator().manual_seed(seed)
        for group in self.param_groups:
            for parameter in group["params"]:
                noise = torch.randn(parameter.shape, generator=generator)
                if isinstance(parameter, DTensor):
                    noise = distribute_tensor(noise, parameter.device_mesh, parameter.placements)
                parameter.data.add_(noise, alpha=factor)

    def step(self, closure):
        (group,) = self.param_groups
        first = next(iter(self.state.values()))["step"]
        seed = int(first)
        scale = group["scale"]
        self._shift(seed, scale)
        up = float(closure())
        self._shift(seed, -2 * scale)
        down = float(closure())
        self._shift(seed, scale)
        self._shift(seed, -group["lr"] * (up - down) / (2 * scale))
        for state in self.state.values():
            state["step"] += 1
        self.losses.append([up, down])
        return up


class Sharing(Evolution):
    """Averages over ranks itself, is shown the model, and puts zeros in place of the weights to evaluate.

    What it saw goes to a file of each rank where ``seen`` names one.
    """

    def __init__(
        self, params, lr: float = 0.05, scale: float = 1e-2, data_parallel: str | None = None, seen: str = ""
    ) -> None:
        super().__init__(params, lr, scale)
        self.data_parallel = data_parallel
        self.seen = seen
        self.model = None
        self.modes: list[bool] = []

    def attach(self, model):
        self.model = model

    def eval(self):
        self.kept = [p.detach().clone() for group in self.param_groups for p in group["params"]]
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.zero_()

    def train(self):
        for group in self.param_groups:
            for parameter, kept in zip(group["params"], self.kept, strict=True):
                parameter.data.copy_(kept)

    def step(self, closure):
        def averaged():
            loss = closure().clone()
            self.modes.append(self.model.training)
            self.local.append(float(loss))
            if self.data_parallel == "average":
                dist.all_reduce(loss)
                loss /= dist.get_world_size()
            return loss

        self.local = []
        super().step(averaged)
        if self.seen:
            line = json.dumps([self.data_parallel, type(self.model).__name__, *self.local])
            with Path(f"{self.seen}-{os.environ.get('RANK', '0')}.jsonl").open("a") as stream:
                stream.write(f"{line}\n")
        return torch.tensor(self.losses[-1]).mean()
