"""Where a training computes, and how a batch gets there."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections import deque
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal

import torch
from torch.nn.utils.rnn import PackedSequence

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

    The nest keeps its types, named tuples and dataclasses too. What has a method ``to`` of its own
    (transformers' ``BatchEncoding``, a graph) moves itself, and anything else stays what it is.

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
    if type(batch) is dict:
        return {key: move(value, device) for key, value in batch.items()}
    if isinstance(batch, (Mapping, PackedSequence)) and hasattr(batch, "to"):
        by_itself: Any = batch
        return by_itself.to(device)
    if isinstance(batch, MutableMapping):
        moved: Any = copy.copy(batch)
        for key, value in batch.items():
            moved[key] = move(value, device)
        return moved
    if isinstance(batch, tuple):  # named ones and other kinds have constructors of their own
        return tuple.__new__(type(batch), (move(value, device) for value in batch))
    if isinstance(batch, (list, deque)):
        moved = copy.copy(batch)
        for place, value in enumerate(batch):
            moved[place] = move(value, device)
        return moved
    if isinstance(batch, (set, frozenset)):
        return type(batch)(move(value, device) for value in batch)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        moved = copy.copy(batch)
        for field in dataclasses.fields(batch):
            # Frozen ones too; and what their constructor made of the fields is not made anew.
            object.__setattr__(moved, field.name, move(getattr(batch, field.name), device))
        return moved
    if hasattr(batch, "to"):
        return batch.to(device)
    return batch
