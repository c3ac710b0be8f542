"""Who holds which samples: evenly at random, or every class unevenly.

A Dirichlet partition draws, for every class, the agents' shares of it (alpha 0.1: most of a class lies with
one or two agents; alpha 100: nearly even).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from graftwork_trainer.data.order import EndlessBatches, Examples

B_co = TypeVar("B_co", covariant=True)
Partition = Literal["iid", "dirichlet"]
_ATTEMPTS = 1000


def even_parts(samples: int, agents: int, seed: int) -> list[NDArray[np.int64]]:
    """Deal samples out at random; the parts differ by one sample at most.

    >>> sorted(len(part) for part in even_parts(10, 3, seed=0))
    [3, 3, 4]
    """
    order = np.random.default_rng(seed).permutation(samples)
    return [np.sort(part) for part in np.array_split(order, agents)]


def dirichlet_parts(
    labels: NDArray[np.int64], agents: int, alpha: float, seed: int, *, least: int = 1
) -> list[NDArray[np.int64]]:
    """Deal each class out by shares drawn from a Dirichlet distribution.

    Args:
        labels: ``[samples]``.
        agents: how many parts.
        alpha: of the distribution; small is uneven.
        seed: of the draw.
        least: samples that each part must have; draws are repeated until they do.

    Raises:
        ValueError: alpha is not positive, or no draw gives every agent that many.

    >>> parts = dirichlet_parts(np.arange(100) % 10, 4, alpha=0.3, seed=0)
    >>> len(parts), sum(map(len, parts))
    (4, 100)
    """
    if not alpha > 0:
        raise ValueError(f"alpha must be above 0, got {alpha}")
    generator = np.random.default_rng(seed)
    for _ in range(_ATTEMPTS):
        parts: list[list[int]] = [[] for _ in range(agents)]
        for label in np.unique(labels):
            own = generator.permutation(np.flatnonzero(labels == label))
            shares = generator.dirichlet(np.full(agents, alpha))
            cuts = np.round(np.cumsum(shares)[:-1] * len(own)).astype(int)
            for part, piece in zip(parts, np.split(own, cuts), strict=True):
                part.extend(piece.tolist())
        if min(map(len, parts)) >= least:
            return [np.sort(np.array(part, dtype=np.int64)) for part in parts]
    raise ValueError(
        f"alpha = {alpha} leaves one of {agents} agents with fewer than {least} of {len(labels)} samples in "
        f"each of {_ATTEMPTS} draws; give more samples, fewer agents or a larger alpha"
    )


def parts_of(
    labels: NDArray[np.int64], agents: int, partition: Partition, alpha: float, seed: int
) -> list[NDArray[np.int64]]:
    """Return every agent's samples by one of the two ways."""
    if partition == "iid":
        return even_parts(len(labels), agents, seed)
    return dirichlet_parts(labels, agents, alpha, seed)


@dataclass(frozen=True, slots=True)
class Part(Generic[B_co]):
    """The examples of one agent, numbered anew.

    Args:
        whole: the examples of all.
        rows: numbers of the agent's own among them.
    """

    whole: Examples[B_co]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: NDArray[np.int64]) -> B_co:
        """Make a batch of some of the agent's own."""
        return self.whole.batch(self.rows[rows])

    def shuffled(self, batch_size: int, seed: Sequence[int]) -> EndlessBatches[B_co]:
        """Return batches without end, of all the agent has where that is less than a batch.

        Args:
            batch_size: examples in a batch.
            seed: of the order.
        """
        return EndlessBatches(self, batch_size=min(batch_size, len(self)), seed=seed)
