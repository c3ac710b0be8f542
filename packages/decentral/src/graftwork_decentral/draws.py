"""Random numbers that are a function of what they are for, so that no process need tell another.

A counter goes through the finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) once a field: seed, step,
the ends of an edge or the agent. Every process and every simulator then draws the same, in whatever order it
asks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_INCREMENT = 0x9E3779B97F4A7C15


def bits(*fields: ArrayLike) -> NDArray[np.uint64]:
    """Return 64 random bits for every combination of fields.

    Args:
        fields: whole numbers; arrays are broadcast against each other.

    >>> int(bits(0, 5)) == int(bits(0, [4, 5])[1]), int(bits(0, 5)) == int(bits(5, 0))
    (True, False)
    """
    state: NDArray[np.uint64] = np.zeros((), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for field in fields:
            word = np.asarray(field, dtype=np.int64).astype(np.uint64)
            state = _mixed(state ^ (word + np.uint64(_INCREMENT)))
            state = state + np.uint64(_INCREMENT)
        return np.asarray(_mixed(state))


def checked_seed(seed: int) -> int:
    """Return a seed that every kind of generator takes.

    Raises:
        ValueError: it is outside 0..2**63 - 1.

    >>> checked_seed(7)
    7
    """
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed must be in 0..2**63 - 1, got {seed}")
    return seed


def uniform(*fields: ArrayLike) -> NDArray[np.float64]:
    """Return a number of 0..1, 1 left out, for every combination of fields.

    >>> 0.49 < float(uniform(3, np.arange(100_000)).mean()) < 0.51
    True
    """
    return (bits(*fields) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(word: NDArray[np.uint64]) -> NDArray[np.uint64]:
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))
