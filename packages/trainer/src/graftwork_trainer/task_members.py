"""The members that a task may have, each with what is taken in its place (see :class:`graftwork.Task`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from graftwork import Direction, GraftworkError, Task

DEFAULT_DIRECTIONS: Mapping[str, Direction] = {"loss": "lower"}


def directions_of(task: Task) -> dict[str, Direction]:
    """Which way is better for each of a task's metrics, the most important first.

    Raises:
        GraftworkError: a direction is neither ``lower`` nor ``higher``, or the task has rows and no metrics.
    """
    name = type(task).__name__
    if hasattr(task, "evaluate_rows") and not hasattr(task, "metrics"):
        raise GraftworkError(f"{name} has evaluate_rows and no metrics(rows) that makes numbers of its rows")
    given = getattr(task, "metric_directions", DEFAULT_DIRECTIONS)
    if not isinstance(given, Mapping) or not {"lower", "higher"}.issuperset(given.values()):
        raise GraftworkError(
            f"metric_directions of {name} must map names of metrics to 'lower' or 'higher', got {given!r}"
        )
    return dict(given)


def recorded_directions(directions: Mapping[str, Direction]) -> dict[str, dict[str, Direction]]:
    """Directions as a run keeps them: of the metrics as they are recorded, held-out data first.

    Args:
        directions: by the task's own names.

    >>> recorded_directions({"accuracy": "higher"})["metric_directions"]
    {'validation/accuracy': 'higher', 'train/accuracy': 'higher', 'train/loss': 'lower'}
    """
    named = {f"{part}/{name}": way for part in ("validation", "train") for name, way in directions.items()}
    return {"metric_directions": {**named, "train/loss": "lower"}}


def model_of(task: Task) -> nn.Module:
    """The model that a task builds.

    Raises:
        GraftworkError: it is none.
    """
    model: object = task.build_model()
    if not isinstance(model, nn.Module):
        raise GraftworkError(
            f"build_model of {type(task).__name__} must return a torch.nn.Module, got {type(model).__name__}"
        )
    return model


def loss_of(task: Task, model: nn.Module, batch: Any) -> tuple[Tensor, Mapping[str, Any]]:
    """A task's loss of a batch, and its further metrics.

    Raises:
        GraftworkError: they are not a tensor of one number and a mapping.
    """
    given: Any = task.loss(model, batch)
    two = isinstance(given, tuple | list) and len(given) == 2
    if two and isinstance(given[0], Tensor) and given[0].numel() == 1 and isinstance(given[1], Mapping):
        return given[0], given[1]
    told = f"{', '.join(map(_told, given))}" if two else _told(given)
    raise GraftworkError(
        f"loss of {type(task).__name__} must return a tensor of one number and a mapping of metrics, got "
        f"{told}"
    )


def _told(given: object) -> str:
    return f"Tensor{list(given.shape)}" if isinstance(given, Tensor) else type(given).__name__


def parameter_groups_of(task: Task, model: nn.Module) -> Sequence[Mapping[str, Any]] | None:
    """A task's own groups of parameters, None where it makes none.

    Raises:
        GraftworkError: they are not a list of dictionaries with ``params``.
    """
    if not hasattr(task, "parameter_groups"):
        return None
    given = task.parameter_groups(model)
    groups = [given] if isinstance(given, Mapping) else list(given)
    if isinstance(given, Mapping) or not all(isinstance(one, Mapping) and "params" in one for one in groups):
        raise GraftworkError(
            f"parameter_groups of {type(task).__name__} must return a list of dictionaries with 'params', "
            f"got {type(groups[0]).__name__ if groups else 'nothing'}"
        )
    return [
        {
            **group,
            "params": [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"]),
        }
        for group in groups
    ]


def decay_of(optimizer: torch.optim.Optimizer) -> dict[str, str]:
    """What the optimizer decays, as a sentence that a run keeps; nothing where it knows no weight decay."""
    counts: dict[float, int] = {}
    for group in optimizer.param_groups:
        if "weight_decay" in group:
            decay = float(group["weight_decay"])
            counts[decay] = counts.get(decay, 0) + len(group["params"])
    if not any(counts):
        return {}
    ordered = sorted(counts.items(), reverse=True)
    parts = [f"{decay:g} on {count} tensors" for decay, count in ordered if decay]
    return {"weight_decay": f"{', '.join(parts)}; none on {counts.get(0.0, 0)}"}


def rates_of(optimizer: torch.optim.Optimizer) -> dict[str, list[dict[str, float | int]]]:
    """How many tensors the optimizer moves by which learning rate, for a run to keep; the largest first.

    An optimizer that multiplies the updates of some of them says by ``rate_of(parameter, group)`` what that
    comes to; of another it is the group's ``lr``.
    """
    counts: dict[float, int] = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            rate_of = getattr(optimizer, "rate_of", None)
            rate = float(rate_of(parameter, group) if rate_of else group.get("lr", math.nan))
            counts[rate] = counts.get(rate, 0) + 1
    known = {rate: count for rate, count in counts.items() if math.isfinite(rate)}
    return {
        "learning_rates": [{"rate": rate, "tensors": known[rate]} for rate in sorted(known, reverse=True)]
    }


def facts_of(task: Task) -> dict[str, Any]:
    """What a task says of its data, for the run's environment."""
    return {"data": dict(task.facts())} if hasattr(task, "facts") else {}


def unit_of(task: Task) -> str:
    """What throughput counts."""
    unit: str = getattr(task, "unit", "samples")
    return unit
