"""From edges to a doubly stochastic matrix.

``metropolis``: ``w_ij = 1 / (1 + max(degree_i, degree_j))``; ``uniform``: ``w_ij = 1 / (1 + largest
degree)``; the diagonal takes what is left (Metropolis weights: Xiao and Boyd, Systems & Control Letters 53,
2004).

Rows of 1/3 do not sum to 1 in floating point, and an error of one unit in the last place moves the mean of
every exact strategy's correction a little further each step. :func:`dyadic` therefore rounds weights to
multiples of a power of two, whose sums are exact; the spectral gap of a ring changes by 3e-5.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

Scheme = Literal["metropolis", "uniform"]

_FINEST, _COARSEST = 23, 12
_DIGITS_OF_SMALLEST = 8


def symmetric_weights(agents: int, edges: Iterable[tuple[int, int]], scheme: Scheme) -> Tensor:
    """Return the mixing matrix of an undirected graph, ``[agents, agents]`` in float64.

    Args:
        agents: how many.
        edges: pairs of agents, each edge once or twice; loops are passed over.
        scheme: ``metropolis`` or ``uniform``.

    Raises:
        ValueError: an edge names an agent that is not there, or the scheme is unknown.

    >>> symmetric_weights(3, [(0, 1), (1, 2)], "metropolis").diagonal().mul(3).round().tolist()
    [2.0, 1.0, 2.0]
    """
    if scheme not in ("metropolis", "uniform"):
        raise ValueError(f"weights must be 'metropolis' or 'uniform', got {scheme!r}")
    adjacency = torch.zeros(agents, agents, dtype=torch.bool)
    for first, second in edges:
        if not (0 <= first < agents and 0 <= second < agents):
            raise ValueError(f"edges must join agents 0..{agents - 1}, got {first}-{second}")
        adjacency[first, second] = adjacency[second, first] = first != second
    degrees = adjacency.sum(1).double()
    larger = torch.maximum(degrees[:, None], degrees[None, :]) if scheme == "metropolis" else degrees.max()
    return fill_diagonal(adjacency / (1 + larger))


def fill_diagonal(off_diagonal: Tensor) -> Tensor:
    """Put on the diagonal what each row lacks to 1."""
    matrix = off_diagonal.clone()
    matrix.fill_diagonal_(0.0)
    return matrix + torch.diag(1 - matrix.sum(1))


def lazy(mixing_matrix: Tensor) -> Tensor:
    """Return ``(I + W) / 2``, whose eigenvalues are at least 0 where W is symmetric."""
    return (torch.eye(len(mixing_matrix), dtype=mixing_matrix.dtype) + mixing_matrix) / 2


def dyadic(mixing_matrix: Tensor) -> Tensor:
    """Round off-diagonal weights to multiples of 2^-12, finer where the least weight is small.

    Returns:
        The rounded matrix; the given one where rounding would lose a link, or leave a column that does not
        sum to 1, which can only be where it is not symmetric, or a negative diagonal.

    >>> float(dyadic(torch.tensor([[2 / 3, 1 / 3], [1 / 3, 2 / 3]], dtype=torch.float64))[0, 1]) * 4096
    1365.0
    """
    off_diagonal = mixing_matrix.clone()
    off_diagonal.fill_diagonal_(0.0)
    positive = off_diagonal[off_diagonal > 0]
    if not len(positive):
        return mixing_matrix
    needed = _DIGITS_OF_SMALLEST - math.floor(math.log2(float(positive.min())))
    unit = 2.0 ** -min(max(needed, _COARSEST), _FINEST)
    rounded = fill_diagonal((off_diagonal / unit).round() * unit)
    links_kept = bool((rounded[off_diagonal > 0] > 0).all())
    fits = bool((rounded.sum(0) == 1).all()) and bool((rounded.diagonal() >= 0).all())
    return rounded if links_kept and fits else mixing_matrix
