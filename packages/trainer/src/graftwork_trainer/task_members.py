"""The members that a task may have, each with what is taken in its place (see :class:`graftwork.Task`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from graftwork import Direction, Task

DEFAULT_DIRECTIONS: Mapping[str, Direction] = {"loss": "lower"}


def directions_of(task: Task) -> dict[str, Direction]:
    """Which way is better for each of a task's metrics, the most important first."""
    return dict(getattr(task, "metric_directions", DEFAULT_DIRECTIONS))


def recorded_directions(directions: Mapping[str, Direction]) -> dict[str, dict[str, Direction]]:
    """Directions as a run keeps them: of the metrics as they are recorded, held-out data first.

    Args:
        directions: by the task's own names.

    >>> recorded_directions({"accuracy": "higher"})["metric_directions"]
    {'validation/accuracy': 'higher', 'train/accuracy': 'higher', 'train/loss': 'lower'}
    """
    named = {f"{part}/{name}": way for part in ("validation", "train") for name, way in directions.items()}
    return {"metric_directions": {**named, "train/loss": "lower"}}


def parameter_groups_of(task: Task, model: nn.Module) -> Sequence[Mapping[str, Any]] | None:
    """A task's own groups of parameters, None where it makes none."""
    return list(task.parameter_groups(model)) if hasattr(task, "parameter_groups") else None


def decay_of(optimizer: torch.optim.Optimizer) -> dict[str, str]:
    """What the optimizer decays, as a sentence that a run keeps; nothing where it knows no weight decay."""
    counts: dict[float, int] = {}
    for group in optimizer.param_groups:
        if "weight_decay" in group:
            decay = float(group["weight_decay"])
            counts[decay] = counts.get(decay, 0) + len(group["params"])
    if not any(counts):
        return {}
    parts = [
        f"{decay:g} on {count} tensors" for decay, count in sorted(counts.items(), reverse=True) if decay
    ]
    return {
        "weight_decay": ", ".join(parts) + f"; none on {counts.get(0.0, 0)} (norms and biases are spared)"
    }


def facts_of(task: Task) -> dict[str, Any]:
    """What a task says of its data, for the run's environment."""
    return {"data": dict(task.facts())} if hasattr(task, "facts") else {}


def unit_of(task: Task) -> str:
    """What throughput counts."""
    unit: str = getattr(task, "unit", "samples")
    return unit
