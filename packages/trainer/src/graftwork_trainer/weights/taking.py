"""Putting weights of a source into a model, and saying what was taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from graftwork import GraftworkError
from graftwork_trainer.checkpoint.bits import same_bits
from graftwork_trainer.checkpoint.geometry import local_piece
from graftwork_trainer.finite import first_nan
from graftwork_trainer.weights.matching import Match
from graftwork_trainer.weights.source import Source

_SHOWN = 4


@torch.no_grad()
def take(model: nn.Module, source: Source, match: Match) -> None:
    """Copy what fits, in the model's own dtypes; of a model that is spread, this process's part.

    Raises:
        GraftworkError: something in it is not a number, or the model has as one tensor what are two.
    """
    own = model.state_dict(keep_vars=True)
    for name, there in match.taken.items():
        value = own[name]
        if is_lazy(value):
            value.materialize(source.tensors[there].shape)
        piece, local = local_piece(name, value)
        read = source.read(there, piece)
        if first_nan({there: read}) is not None:
            raise GraftworkError(f"{there} holds what is not a number")
        local.copy_(read)
    for names in match.tied:
        first, *others = [source.read(match.taken[name]) for name in names]
        if not all(same_bits(first, other) for other in others):
            raise GraftworkError(
                f"{' and '.join(names)} are one tensor in the model, and there they differ; build the model "
                "with untied weights"
            )


def told(source: Source, match: Match, rounded: Sequence[str]) -> str:
    """What was taken and what was not, in a line."""
    parts = [f"start_from {source.told}: {match.fitted} of {match.tensors} tensors taken"]
    if match.missing:
        parts.append(f"not there: {_shortened(match.missing)}")
    if match.misfits:
        shapes = [f"{name} ({there} there, {here} here)" for name, (there, here) in match.misfits.items()]
        parts.append(f"of another shape or kind: {_shortened(shapes)}")
    if match.unused:
        parts.append(f"not used: {_shortened(match.unused)}")
    parts += rounded
    return "; ".join(parts)


def roundings(model: nn.Module, source: Source, match: Match) -> list[str]:
    """Which dtypes lose digits in the model's."""
    own = model.state_dict(keep_vars=True)
    pairs = {
        (source.tensors[there].dtype, own[name].dtype): None
        for name, there in match.taken.items()
        if torch.promote_types(source.tensors[there].dtype, own[name].dtype) != own[name].dtype
    }
    return [
        f"{str(there).removeprefix('torch.')} is rounded to {str(here).removeprefix('torch.')}"
        for there, here in pairs
    ]


def recorded(source: Source, match: Match) -> dict[str, Any]:
    """The same in full, for the run's environment."""
    return {
        "from": source.told,
        **source.identity(),
        "taken": list(match.taken),
        "missing": list(match.missing),
        "other_shape": {name: f"{there} there, {here} here" for name, (there, here) in match.misfits.items()},
        "unused": list(match.unused),
    }


def refuse_nothing(model: nn.Module, source: Source, match: Match) -> None:
    """Refuse to start from what the model takes nothing of.

    Raises:
        GraftworkError: nothing fits.
    """
    if not match.fitted:
        there, here = list(source.tensors), list(model.state_dict())
        raise GraftworkError(
            f"start_from {source.told}: nothing of it fits the model: it has {_shortened(there)} "
            f"({len(there)} tensors), and the model {_shortened(here)} ({match.tensors}); names, "
            "shapes and kinds of numbers must be the same"
        )


def _shortened(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
