"""Datasets that keep a generator of random numbers: nobody but they know where it is.

What samples draw from the global generators is seeded for each of them. What they draw from another follows
from all that was drawn before by the same process, so that it depends on how many of those there are, and is
another after a resumption.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

_GENERATORS = (random.Random, np.random.Generator, np.random.RandomState, torch.Generator)
# What is looked at: transforms within transforms, and no table of paths to its end.
_DEPTH, _ENTRIES = 6, 50


def why_inexact(dataset: Any) -> str | None:
    """Why a resumed run may meet other samples; None where it meets the same.

    Args:
        dataset: that makes them.
    """
    kept = kept_generator(dataset)
    if kept is None:
        return None
    return (
        f"its dataset keeps a generator of random numbers ({kept}), which goes on by itself in every "
        "process; draw from torch's, NumPy's or Python's global one, which are seeded for each sample"
    )


def kept_generator(dataset: Any) -> str | None:
    """Where a dataset keeps a generator of its own; None where none is found.

    Args:
        dataset: whose attributes are looked through, and theirs.

    >>> class Noisy:
    ...     def __init__(self):
    ...         self.transform = {"noise": random.Random(0)}
    >>> kept_generator(Noisy())
    "Noisy.transform['noise']"
    """
    seen: set[int] = set()
    left = deque([(type(dataset).__name__, dataset, 0)])
    while left:
        name, thing, depth = left.popleft()
        if isinstance(thing, _GENERATORS):
            return name
        if id(thing) not in seen and depth < _DEPTH:
            seen.add(id(thing))
            left.extend((f"{name}{place}", part, depth + 1) for place, part in _parts(thing))
    return None


def _parts(thing: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(thing, Mapping):
        yield from ((f"[{key!r}]", part) for key, part in list(thing.items())[:_ENTRIES])
    elif isinstance(thing, list | tuple):
        yield from ((f"[{number}]", part) for number, part in enumerate(thing[:_ENTRIES]))
    elif not isinstance(thing, type | torch.Tensor) and hasattr(thing, "__dict__"):
        yield from ((f".{name}", part) for name, part in vars(thing).items())
