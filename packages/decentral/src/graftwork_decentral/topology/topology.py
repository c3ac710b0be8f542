"""Who exchanges with whom, and how much each counts: a graph with a doubly stochastic mixing matrix.

``mixing_matrix[i, j]`` is the weight that agent i gives to what agent j holds. Rows and columns sum to 1, so
that mixing leaves the mean over agents as it is. A graph that changes from step to step is a
:class:`GraphSequence`; a :class:`Topology` is the sequence that never changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from graftwork_decentral.topology.spectrum import Spectrum

_TOLERANCE = 1e-9


@runtime_checkable
class GraphSequence(Protocol):
    """The graph of every step."""

    @property
    def name(self) -> str:
        """What to call it in a report."""
        ...

    @property
    def agents(self) -> int:
        """How many agents there are."""
        ...

    @property
    def symmetric(self) -> bool:
        """Whether the mixing matrix of every step is symmetric."""
        ...

    @property
    def varies(self) -> bool:
        """Whether two steps may have different graphs."""
        ...

    @property
    def lambda_min(self) -> float:
        """A lower bound of the eigenvalues of every step's mixing matrix."""
        ...

    @property
    def digest(self) -> str:
        """Equal on two processes exactly where the graphs of all steps are."""
        ...

    def at(self, step: int) -> Topology:
        """Return the graph of one step, the same one for the same step."""
        ...


@dataclass(frozen=True, eq=False)
class Topology:
    """A fixed graph.

    Args:
        name: to call it by in a report.
        mixing_matrix: ``[agents, agents]``, doubly stochastic, no negative entry; kept in float64.

    Raises:
        ValueError: the matrix is not square, is complex, has a negative or infinite entry, or a row or column
            whose sum is not 1.

    >>> pair = Topology("pair", torch.tensor([[0.5, 0.5], [0.5, 0.5]]))
    >>> pair.agents, pair.neighbours, pair.gap
    (2, ((1,), (0,)), 1.0)
    """

    name: str
    mixing_matrix: Tensor

    def __post_init__(self) -> None:
        given = torch.as_tensor(self.mixing_matrix)
        if given.is_complex():
            raise ValueError(f"mixing_matrix must hold real numbers, got {given.dtype}")
        matrix = given.detach().to("cpu", torch.float64, copy=True)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
            raise ValueError(f"mixing_matrix must be square, [agents, agents], got {list(matrix.shape)}")
        if not bool(torch.isfinite(matrix).all()) or float(matrix.min()) < 0:
            raise ValueError(
                f"mixing_matrix must have no negative and no infinite entry; its least is {matrix.min():g}"
            )
        for side, sums in (("row", matrix.sum(1)), ("column", matrix.sum(0))):
            worst = int((sums - 1).abs().argmax())
            if abs(float(sums[worst]) - 1) > _TOLERANCE:
                raise ValueError(
                    f"mixing_matrix must be doubly stochastic: {side} {worst} sums to "
                    f"{float(sums[worst]):.12g}, not to 1, so that mixing would move the mean over agents"
                )
        object.__setattr__(self, "mixing_matrix", matrix)

    @property
    def agents(self) -> int:
        """How many agents there are."""
        return len(self.mixing_matrix)

    @cached_property
    def neighbours(self) -> tuple[tuple[int, ...], ...]:
        """For every agent those whose values it takes in, ascending, itself left out."""
        linked = self.mixing_matrix != 0
        linked.fill_diagonal_(False)
        return tuple(tuple(row.nonzero().flatten().tolist()) for row in linked)

    @property
    def edges(self) -> int:
        """How many vectors travel when each agent takes in its neighbours' once."""
        return sum(map(len, self.neighbours))

    @cached_property
    def symmetric(self) -> bool:
        """Whether both ends of every edge give it the same weight."""
        return bool(torch.equal(self.mixing_matrix, self.mixing_matrix.T))

    @property
    def varies(self) -> bool:
        """False: every step has this graph."""
        return False

    @cached_property
    def dyadic(self) -> bool:
        """Whether all weights are exact in float32 and their sums too, so that a plain matrix product does
        not move the mean."""
        scaled = self.mixing_matrix * 2.0**23
        return bool(torch.equal(scaled, scaled.round())) and bool(
            (self.mixing_matrix.sum(1) == 1).all() and (self.mixing_matrix.sum(0) == 1).all()
        )

    @cached_property
    def spectrum(self) -> Spectrum:
        """What the eigenvalues say."""
        return Spectrum.of(self.mixing_matrix)

    @property
    def gap(self) -> float:
        """``1 - ||W - 11'/n||``, the spectral norm: how much of the disagreement one mixing takes away."""
        return self.spectrum.gap

    @property
    def lambda_2(self) -> float:
        """The second largest eigenvalue (its real part where the matrix is not symmetric)."""
        return self.spectrum.lambda_2

    @property
    def lambda_min(self) -> float:
        """The least eigenvalue (its real part where the matrix is not symmetric)."""
        return self.spectrum.lambda_min

    @cached_property
    def digest(self) -> str:
        """Of the mixing matrix, bit for bit."""
        return hashlib.sha256(self.mixing_matrix.numpy().tobytes()).hexdigest()[:16]

    def at(self, step: int) -> Topology:
        """Return this graph, whatever the step."""
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Topology) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Topology({self.name!r}, agents={self.agents}, edges={self.edges}, gap={self.gap:.6g})"


class TopologySequence:
    """Graphs that take turns: step k has number ``k mod len(topologies)``.

    Args:
        name: to call it by in a report.
        topologies: of one number of agents.

    Raises:
        ValueError: there is none, or they differ in their number of agents.
    """

    def __init__(self, name: str, topologies: Sequence[Topology]) -> None:
        counts = sorted({topology.agents for topology in topologies})
        if len(counts) != 1:
            raise ValueError(
                f"topologies must be at least one, all of the same number of agents, got numbers {counts}"
            )
        self.name = name
        self.topologies = tuple(topologies)
        self.agents = counts[0]

    @property
    def symmetric(self) -> bool:
        """Whether all of them are."""
        return all(topology.symmetric for topology in self.topologies)

    @property
    def varies(self) -> bool:
        """Whether there are two different ones."""
        return len(set(self.topologies)) > 1

    @property
    def lambda_min(self) -> float:
        """The least eigenvalue of any of them."""
        return min(topology.lambda_min for topology in self.topologies)

    @property
    def digest(self) -> str:
        """Of all of them in their order."""
        return hashlib.sha256("".join(one.digest for one in self.topologies).encode()).hexdigest()[:16]

    def at(self, step: int) -> Topology:
        """Return the graph whose turn it is."""
        return self.topologies[step % len(self.topologies)]

    def __repr__(self) -> str:
        return f"TopologySequence({self.name!r}, agents={self.agents}, period={len(self.topologies)})"
