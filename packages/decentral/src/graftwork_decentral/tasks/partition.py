"""Who holds which samples: evenly at random, or every class unevenly.

A Dirichlet partition draws, for every class, the agents' shares of it (alpha 0.1: most of a class lies with
one or two agents; alpha 100: nearly even). It is drawn again until every agent has a sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from graftwork import GraftworkError
from graftwork_trainer.data.order import EndlessBatches, Examples

B_co = TypeVar("B_co", covariant=True)
Partition = Literal["iid", "dirichlet"]
_ATTEMPTS = 1000
_LARGEST_ALPHA = 1e6
"""As good as even; far beyond it numpy's shares are all 0."""


def even_parts(samples: int, agents: int, seed: int, *, what: str = "samples") -> list[NDArray[np.int64]]:
    """Deal samples out at random; the parts differ by one sample at most.

    Args:
        samples: how many.
        agents: how many parts.
        seed: of the deal.
        what: the samples are called in a message.

    Raises:
        GraftworkError: there are fewer samples than agents.

    >>> sorted(len(part) for part in even_parts(10, 3, seed=0))
    [3, 3, 4]
    """
    _enough(samples, agents, 1, what)
    order = np.random.default_rng(seed).permutation(samples)
    return [np.sort(part) for part in np.array_split(order, agents)]


def dirichlet_parts(
    labels: NDArray[np.int64],
    agents: int,
    alpha: float,
    seed: int,
    *,
    least: int = 1,
    what: str = "samples",
) -> list[NDArray[np.int64]]:
    """Deal each class out by shares drawn from a Dirichlet distribution.

    Args:
        labels: ``[samples]``.
        agents: how many parts.
        alpha: of the distribution; small is uneven.
        seed: of the draw.
        least: samples that each part must have; draws are repeated until they do.
        what: the samples are called in a message.

    Raises:
        ValueError: alpha is out of its range.
        GraftworkError: there are too few samples, or no draw gives every agent as many.

    >>> parts = dirichlet_parts(np.arange(100) % 10, 4, alpha=0.3, seed=0)
    >>> len(parts), sum(map(len, parts))
    (4, 100)
    """
    checked_alpha(alpha)
    _enough(len(labels), agents, least, what)
    generator = np.random.default_rng(seed)
    rows_of_classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    for _ in range(_ATTEMPTS):
        drawn, sizes = [], np.zeros(agents, dtype=np.int64)
        for rows in rows_of_classes:
            own = generator.permutation(rows)
            shares = generator.dirichlet(np.full(agents, alpha))
            cuts = np.round(np.cumsum(shares)[:-1] * len(own)).astype(int)
            drawn.append((own, cuts))
            sizes += np.diff(cuts, prepend=0, append=len(own))
        if sizes.min() >= least:
            pieces = [np.split(own, cuts) for own, cuts in drawn]
            return [np.sort(np.concatenate(part)) for part in zip(*pieces, strict=True)]
    raise GraftworkError(
        f"task.alpha = {alpha} leaves one of trainer.agents = {agents} with fewer than {least} of "
        f"{len(labels)} {what} in each of {_ATTEMPTS} draws; give more of them, fewer agents or a larger "
        "task.alpha"
    )


def checked_alpha(alpha: float) -> float:
    """Return alpha of a Dirichlet partition.

    Raises:
        ValueError: it is not positive, or so large that nothing is uneven.
    """
    if not 0 < alpha <= _LARGEST_ALPHA:
        raise ValueError(
            f"alpha must be above 0 and at most {_LARGEST_ALPHA:g} (partition 'iid' is even), got {alpha}"
        )
    return alpha


def parts_of(
    labels: NDArray[np.int64],
    agents: int,
    partition: Partition,
    alpha: float,
    seed: int,
    *,
    what: str = "training samples",
) -> list[NDArray[np.int64]]:
    """Return every agent's samples by one of the two ways.

    Raises:
        GraftworkError: no partition gives every agent a sample.
    """
    if partition == "iid":
        return even_parts(len(labels), agents, seed, what=what)
    return dirichlet_parts(labels, agents, alpha, seed, what=what)


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


def _enough(samples: int, agents: int, least: int, what: str) -> None:
    if samples < least * agents:
        raise GraftworkError(
            f"trainer.agents must be at most {samples // least}, so that each has {least} of {samples} "
            f"{what}, got {agents}"
        )
