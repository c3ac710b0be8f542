"""What a training carries from step to step besides weights and moments: plain numbers, saved with a
checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class TrainingState:
    """Where a training stands.

    Args:
        step: steps taken.
        best_loss: lowest validation loss so far.
        evaluations_since_best: evaluations that did not beat it.
        metrics: of the latest evaluation, named ``validation/...``.

    >>> state = TrainingState()
    >>> for loss in (2.0, 1.0, 1.5):
    ...     state.take_evaluation({"loss": loss})
    >>> state.best_loss, state.evaluations_since_best
    (1.0, 1)
    >>> TrainingState.from_saved(state.to_save()) == state
    True
    """

    step: int = 0
    best_loss: float = math.inf
    evaluations_since_best: int = 0
    metrics: dict[str, float] = field(default_factory=dict)

    @classmethod
    def from_saved(cls, saved: Mapping[str, Any]) -> TrainingState:
        """Read what :meth:`to_save` gave."""
        return cls(**saved)

    def to_save(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        return asdict(self)

    def take_evaluation(self, metrics: Mapping[str, float]) -> None:
        """Remember an evaluation, and whether its loss is the best so far."""
        self.metrics = {f"validation/{name}": value for name, value in metrics.items()}
        loss = metrics.get("loss", math.nan)
        if loss < self.best_loss:
            self.best_loss, self.evaluations_since_best = loss, 0
        else:
            self.evaluations_since_best += 1
