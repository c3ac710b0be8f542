"""What the bases are made of: orthonormal columns, leading eigenvectors, and a matrix whose rows lie in
several processes.

Only products with a thin matrix are summed over processes, and only thin matrices are gathered, unless a
method asks for the whole matrix.

Shapes: a matrix is ``[rows, width]``, a process holds ``[local rows, width]`` of it, which may be none; a
thin matrix is ``[rows, rank]`` or ``[width, rank]``.

Raises ``torch.linalg.LinAlgError`` where LAPACK does, or where an eigenvalue is not finite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

# torch documents the name without exporting it to type checkers.
LinAlgError: type[RuntimeError] = torch.linalg.LinAlgError  # type: ignore[attr-defined]


class RowExchange(Protocol):
    """How to reach the rows that other processes hold, such as ``Rows`` of a weight."""

    def sum(self, tensor: Tensor, /) -> Tensor:
        """Return the elementwise sum over the processes; the tensor may be written into."""

    def gather(self, local: Tensor, /) -> Tensor:
        """Return all rows, in order."""

    def own(self, whole: Tensor, /) -> Tensor:
        """Return this process's rows of a matrix that all hold whole."""


@dataclass(frozen=True, slots=True, eq=False)
class SpreadMatrix:
    """A finite matrix in float32 or float64, of which this process holds some rows.

    Args:
        local: ``[local rows, width]``.
        shape: ``(rows, width)`` of the whole.
        rows: the way to the other processes.

    >>> from graftwork_optim_core.common.sharding import Rows
    >>> whole = torch.ones(3, 2)
    >>> SpreadMatrix(whole, (3, 2), Rows(whole)).transposed_times(torch.ones(3, 1))
    tensor([[3.],
            [3.]])
    """

    local: Tensor
    shape: tuple[int, int]
    rows: RowExchange

    def whole(self) -> Tensor:
        """Return all of it, in every process."""
        return self.rows.gather(self.local)

    def times(self, thin: Tensor) -> Tensor:
        """Return this process's rows of the product with ``[width, rank]``."""
        return self.local @ thin

    def transposed_times(self, local: Tensor) -> Tensor:
        """Return ``[width, rank]``, the transposed times a matrix spread as this one is, in every process."""
        return self.rows.sum(self.local.T @ local)


def orthonormal_columns(matrix: Tensor) -> Tensor:
    """Return orthonormal columns that span the matrix's; the first ``j`` span its first ``j``.

    Every column keeps a non-negative product with the component of its own that is new. Of a Gaussian matrix
    the result is then exactly uniform among all matrices with orthonormal columns, which the factor as LAPACK
    returns it is not. Columns that add nothing, zeros included, give arbitrary ones that complete the rest.

    Args:
        matrix: ``[..., size, rank]``, ``rank`` no more than ``size``.

    Returns:
        The same shape.

    >>> orthonormal_columns(torch.tensor([[0.0, 1.0], [2.0, 5.0]]))
    tensor([[0., 1.],
            [1., 0.]])
    """
    orthonormal, triangle = torch.linalg.qr(matrix)
    flips = torch.where(triangle.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(orthonormal.dtype)
    # 0.0 is added so that no entry is a negative zero, which would print and hash unlike the positive.
    signed: Tensor = orthonormal * flips.unsqueeze(-2)
    return signed.add_(0.0)


def leading_eigenvectors(symmetric: Tensor, count: int) -> Tensor:
    """Return orthonormal eigenvectors of the largest eigenvalues, the largest first.

    Args:
        symmetric: ``[size, size]``, whose lower triangle is read.
        count: 1 to ``size``.

    Returns:
        ``[size, count]``.

    Raises:
        torch.linalg.LinAlgError: no convergence.

    >>> leading_eigenvectors(torch.diag(torch.tensor([1.0, 3.0, 2.0])), 2).abs()
    tensor([[0., 0.],
            [1., 0.],
            [0., 1.]])
    """
    eigenvalues, eigenvectors = torch.linalg.eigh(symmetric)
    if not bool(torch.isfinite(eigenvalues).all()):
        raise LinAlgError("an eigenvalue is not finite")
    leading: Tensor = eigenvectors[:, -count:].flip(1)
    return leading
