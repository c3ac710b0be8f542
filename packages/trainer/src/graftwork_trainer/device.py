"""Where a training computes, and how a batch gets there."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, Literal

import torch

from graftwork import GraftworkError

Device = Literal["auto", "cpu", "cuda"]


def choose_device(asked: Device) -> torch.device:
    """Return the device of this process, on CUDA that of its local rank.

    Args:
        asked: auto takes CUDA where there is one.

    Raises:
        GraftworkError: CUDA was asked for and there is none.
    """
    if asked == "cuda" and not torch.cuda.is_available():
        raise GraftworkError("trainer.device is 'cuda', but torch sees no CUDA device; use 'cpu' or 'auto'")
    if asked == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(chosen)
    return chosen


def move(batch: Any, device: torch.device) -> Any:
    """Return a batch on a device: every tensor of a nest of mappings, sequences and dataclasses.

    The nest keeps its types, named tuples and dataclasses too; a mapping of another type than ``dict`` that
    moves itself (transformers' ``BatchEncoding``) is let do so, and what is no tensor stays what it is.

    Args:
        batch: of a task.
        device: where to.

    >>> from collections import namedtuple
    >>> Pair = namedtuple("Pair", "inputs names")
    >>> moved = move({"pair": Pair(torch.zeros(2), ["a", "b"])}, torch.device("meta"))
    >>> type(moved["pair"]).__name__, moved["pair"].inputs.device.type, moved["pair"].names
    ('Pair', 'meta', ['a', 'b'])
    """
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        moved = {key: move(value, device) for key, value in batch.items()}
        return moved if type(batch) is dict else _alike(batch, moved)
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(move(value, device) for value in batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(move(value, device) for value in batch)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        fields = [field.name for field in dataclasses.fields(batch) if field.init]
        return dataclasses.replace(batch, **{name: move(getattr(batch, name), device) for name in fields})
    if hasattr(batch, "to"):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {key: move(value, device) for key, value in batch.items()}
    return batch


def _alike(batch: dict[Any, Any], moved: dict[Any, Any]) -> dict[Any, Any]:
    """A dictionary of the same type, as an ``OrderedDict`` or ``defaultdict``."""
    alike = batch.copy()
    alike.update(moved)
    return alike
