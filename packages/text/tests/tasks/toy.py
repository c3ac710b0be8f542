"""A plugin with two optimizers, so that tasks are trained where no other package is: see conftest.py."""

from __future__ import annotations

import torch

from graftwork import Component, Kind, hookimpl


class Evolution(torch.optim.Optimizer):
    """Two-point descent along random directions: asks for the loss twice a step, never for a gradient."""

    closure = "loss"

    def __init__(self, params, lr: float = 0.05, scale: float = 1e-2) -> None:
        super().__init__(params, {"lr": lr, "scale": scale})
        self._trained = [parameter for group in self.param_groups for parameter in group["params"]]
        for parameter in self._trained:
            self.state[parameter]["step"] = torch.zeros(())

    def _shift(self, seed, factor):
        generator = torch.Generator().manual_seed(seed)
        for parameter in self._trained:
            parameter.data.add_(torch.randn(parameter.shape, generator=generator), alpha=factor)

    def step(self, closure):
        group = self.param_groups[0]
        seed, scale = int(self.state[self._trained[0]]["step"]), group["scale"]
        self._shift(seed, scale)
        up = float(closure())
        self._shift(seed, -2 * scale)
        down = float(closure())
        self._shift(seed, scale)
        self._shift(seed, -group["lr"] * (up - down) / (2 * scale))
        for state in self.state.values():
            state["step"] += 1
        return up


@hookimpl
def graftwork_components():
    yield Component(Kind.OPTIMIZER, "adamw", "torch.optim:AdamW", "torch's")
    yield Component(Kind.OPTIMIZER, "evolution", f"{__name__}:Evolution", "zeroth order")
