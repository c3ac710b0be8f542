"""The directory of one training run.

::

    RUN/
      recipe.toml        as resolved, nothing left to defaults
      environment.json   versions, commit, device, facts of the data
      metrics.jsonl      one flat JSON object a line
      tensorboard/       the same numbers, for looking at
      checkpoints/       step-000500/, whole or absent
      result.json        how it ended; absent while it runs, or where it was killed
      report.html        what to look at, with plots/
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from graftwork import GraftworkError
from graftwork.resolution import Resolved
from graftwork_trainer.checkpoint import Checkpoints
from graftwork_trainer.progress import Progress
from graftwork_trainer.trackers import JsonLines, TensorBoard


class RunDirectory:
    """What a trainer is handed: metrics, checkpoints, progress and the final result of one run.

    Under several processes every rank holds one; only rank 0 writes metrics and results, all of them
    checkpoints.

    Args:
        directory: of the run.
        recipe: resolved.
        environment: plain data, see :func:`graftwork_trainer.environment.describe_environment`.
        resume: go on from the newest checkpoint instead of starting anew.
        rank: of this process.
        quiet: no progress bar.

    Raises:
        GraftworkError: the directory holds a run already and ``resume`` is off, or it cannot be written.
    """

    def __init__(
        self,
        directory: Path,
        recipe: Resolved,
        environment: Mapping[str, Any],
        *,
        resume: bool = False,
        rank: int = 0,
        quiet: bool = False,
    ) -> None:
        self.directory = directory
        self.resume = resume
        self.checkpoints = Checkpoints(directory / "checkpoints")
        self._recipe = recipe
        self._environment = dict(environment)
        self._main = rank == 0
        self._quiet = quiet
        self._trackers: list[JsonLines | TensorBoard] = []
        self._started = time.perf_counter()
        self._seconds_before = 0.0
        self._ended = False
        if self._main and not resume and (directory / "recipe.toml").exists():
            raise GraftworkError(
                f"run {directory}: holds a run already; continue it with `graftwork train --resume "
                f"{directory}`, or name another directory with --out"
            )

    def start(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
    ) -> dict[str, Any]:
        """Load the newest checkpoint where the run resumes, and open the metrics file at its step.

        Returns:
            What the checkpoint was saved with, ``{"step": 0}`` for a fresh start.
        """
        state = self.checkpoints.load(model, optimizer, device) if self.resume else None
        state = state or {"step": 0}
        if self._main:
            self.directory.mkdir(parents=True, exist_ok=True)
            if not self.resume:
                (self.directory / "recipe.toml").write_text(self._recipe.to_toml(), "utf-8")
            self._write("environment.json", self._environment)
            lines = JsonLines(self.directory / "metrics.jsonl", state["step"])
            self._seconds_before = float(lines.last.get("seconds", 0.0))
            self._trackers = [lines, TensorBoard(self.directory / "tensorboard", state["step"])]
        self._started = time.perf_counter()
        return state

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append metrics, named ``train/loss`` or ``validation/perplexity``, with the seconds trained so
        far."""
        if self._main:
            # It told how an earlier part ended, and is out of date from here on.
            (self.directory / "result.json").unlink(missing_ok=True)
        for tracker in self._trackers:
            tracker.record(step, {"seconds": round(self.seconds, 3), **metrics})

    @property
    def seconds(self) -> float:
        """Wall time trained so far, earlier parts of a resumed run counted in."""
        return self._seconds_before + time.perf_counter() - self._started

    def note(self, facts: Mapping[str, Any]) -> None:
        """Add to ``environment.json``, written when training starts."""
        self._environment.update(facts)

    def progress(self, start: int, total: int, unit: str) -> Progress:
        """A progress bar over steps, shown on rank 0."""
        return Progress(start, total, unit, label=self.directory.name, shown=self._main and not self._quiet)

    def finish(self, status: str, result: Mapping[str, Any]) -> None:
        """Write how the run ended: ``finished``, ``stopped-early``, ``interrupted`` or ``failed``."""
        self.close()
        self._ended = True
        if self._main and self.directory.is_dir():
            self._write("result.json", {"status": status, "wall_seconds": round(self.seconds, 3), **result})

    def close(self) -> None:
        """Close the metrics files."""
        trackers, self._trackers = self._trackers, []
        for tracker in trackers:
            tracker.close()

    def fail(self, reason: str) -> None:
        """Write that the run failed and why, unless it ended by itself before."""
        if not self._ended:
            with contextlib.suppress(OSError):  # on a full disk the reason is printed, if not written
                self.finish("failed", {"reason": reason})

    def _write(self, name: str, data: Mapping[str, Any]) -> None:
        partial = self.directory / f"{name}.partial"
        partial.write_text(json.dumps(data, indent=2) + "\n", "utf-8")
        partial.rename(self.directory / name)
