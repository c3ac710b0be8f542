"""The steps since the last record: their mean loss and throughput, kept on the device until they are read."""

from __future__ import annotations

import time

import torch

from graftwork_trainer.parallel import World
from graftwork_trainer.step_rules import StepOutcome


class Interval:
    """Sums over steps; reading them is the only place where the loop waits for the device.

    Args:
        world: losses are averaged over its ranks, and units are counted on all of them.
        unit: of throughput, ``tokens`` for instance.
    """

    def __init__(self, world: World, unit: str) -> None:
        self._world = world
        self._unit = unit
        self.restart()

    def restart(self) -> None:
        """Begin anew, for instance after an evaluation, whose time is not training's."""
        self._loss = torch.zeros((), device=self._world.device)
        self._steps = 0
        self._units = 0
        self._latest: StepOutcome | None = None
        self._started = time.perf_counter()

    def add(self, outcome: StepOutcome, units: int) -> None:
        """Take in one step and the units that this rank trained on."""
        self._loss += outcome.loss
        self._steps += 1
        self._units += units
        self._latest = outcome

    def read(self) -> dict[str, float]:
        """Mean loss and throughput since the last reading, norm and metrics of the latest step; begin
        anew."""
        metrics = {"train/loss": float(self._world.mean(self._loss / max(self._steps, 1)))}
        seconds = time.perf_counter() - self._started
        if self._latest is not None:
            if self._latest.gradient_norm is not None:
                metrics["train/gradient_norm"] = float(self._latest.gradient_norm)
            metrics |= {f"train/{name}": float(value) for name, value in self._latest.metrics.items()}
        metrics[f"train/{self._unit}_per_second"] = self._units * self._world.size / seconds
        self.restart()
        return metrics
