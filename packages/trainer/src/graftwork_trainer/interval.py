"""The steps since the last record: their mean loss and throughput, kept on the device until they are read."""

from __future__ import annotations

import time

import torch

from graftwork import Outcome, Procedure


class Interval:
    """Sums over steps; reading them is the only place where the loop waits for the device.

    Args:
        procedure: takes the steps; losses are averaged over its processes.
    """

    def __init__(self, procedure: Procedure) -> None:
        self._procedure = procedure
        self.restart()

    def restart(self) -> None:
        """Begin anew, for instance after an evaluation, whose time is not training's."""
        self._loss = torch.zeros((), device=self._procedure.device)
        self._steps = 0
        self._units = 0
        self._latest: Outcome | None = None
        self._started = time.perf_counter()

    def add(self, outcome: Outcome, units: int) -> None:
        """Take in one step and the units that all processes trained on."""
        self._loss += outcome.loss
        self._steps += 1
        self._units += units
        self._latest = outcome

    def read(self) -> dict[str, float]:
        """Mean loss and throughput since the last reading, norm and metrics of the latest step; begin
        anew."""
        metrics = {"train/loss": float(self._procedure.mean(self._loss / max(self._steps, 1)))}
        seconds = time.perf_counter() - self._started
        if self._latest is not None:
            if self._latest.gradient_norm is not None:
                metrics["train/gradient_norm"] = float(self._latest.gradient_norm)
            metrics |= {f"train/{name}": float(value) for name, value in self._latest.metrics.items()}
        metrics[f"train/{self._procedure.unit}_per_second"] = self._units / seconds
        self.restart()
        return metrics
