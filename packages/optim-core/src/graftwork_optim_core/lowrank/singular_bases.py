"""Leading singular vectors of a gradient, exactly and nearly, one function a method.

Source: GaLore, arXiv:2403.03507: the basis is the first ``rank`` left or right singular vectors of the
gradient G.

    svd     the singular value decomposition itself
    gram    eigenvectors U of G G^T or V of G^T G, the smaller; for the other side orth(G^T U) or orth(G V)
    rsvd    Halko, Martinsson, Tropp, "Finding structure with randomness", arXiv:0909.4061, alg. 4.4 and 5.1
    power   one block power step from the previous basis P: orth(G^T G P) or orth(G G^T P)

Shapes: the matrix is ``[rows, width]`` and its rows may lie in several processes. A right basis is
``[width, rank]`` and in every process the same; a left one ``[rows, rank]``, of which each process gets its
own rows. ``rank`` is 1 to the smaller dimension; where the matrix has a lower rank, arbitrary directions
complete the basis.

The matrix must be finite, and not so large or small that squares overflow or vanish. Everything here raises
``torch.linalg.LinAlgError`` where no basis could be computed, in all processes alike.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from graftwork_optim_core.lowrank.linear_algebra import (
    LinAlgError,
    SpreadMatrix,
    leading_eigenvectors,
    orthonormal_columns,
)
from graftwork_optim_core.lowrank.random_basis import Seed, gaussian

BasisSide = Literal["left", "right"]


def svd_basis(matrix: SpreadMatrix, rank: int, side: BasisSide) -> Tensor:
    """Return singular vectors by a full decomposition; gathers the matrix.

    >>> from graftwork_optim_core.common.sharding import Rows
    >>> diagonal = SpreadMatrix(torch.diag(torch.tensor([1.0, 3.0])), (2, 2), Rows(torch.empty(0)))
    >>> svd_basis(diagonal, 1, "left").abs()
    tensor([[0.],
            [1.]])
    """
    whole = matrix.whole()
    wide = whole.shape[0] < whole.shape[1]
    # LAPACK takes nearly twice as long for a wide matrix as for its transposed.
    left, singular_values, right = torch.linalg.svd(whole.T if wide else whole, full_matrices=False)
    if wide:
        left, right = right.T, left.T
    if not bool(torch.isfinite(singular_values).all()):
        raise LinAlgError("a singular value is not finite")
    return matrix.rows.own(left[:, :rank]) if side == "left" else right[:rank].T


def gram_basis(matrix: SpreadMatrix, rank: int, side: BasisSide, *, in_float64: bool = False) -> Tensor:
    """Return singular vectors by the smaller Gram matrix; gathers the matrix where it is wider than high.

    Squaring halves the digits: in float32 directions whose singular value is below some 3e-4 of the largest
    drown in rounding, in float64 those below 1e-8.

    Args:
        matrix: whose vectors.
        rank: how many.
        side: which.
        in_float64: whether to square, decompose and multiply in float64.

    >>> from graftwork_optim_core.common.sharding import Rows
    >>> gram_basis(SpreadMatrix(torch.tensor([[0.0, 2.0, 0.0]]), (1, 3), Rows(torch.empty(0))), 1, "right")
    tensor([[0.],
            [1.],
            [0.]])
    """
    rows, width = matrix.shape
    dtype = torch.float64 if in_float64 else matrix.local.dtype
    # Of a square matrix either would do; the side's own spares a product, and the right one a gather.
    if rows < width or (rows == width and side == "left"):
        # Products of rows with rows in other processes need the rows; they are fewer numbers than a Gram
        # matrix of the columns.
        whole = matrix.whole().to(dtype)
        left = leading_eigenvectors(whole @ whole.T, rank)
        basis = matrix.rows.own(left) if side == "left" else orthonormal_columns(whole.T @ left)
        return basis.to(matrix.local.dtype)
    local = SpreadMatrix(matrix.local.to(dtype), matrix.shape, matrix.rows)
    right = leading_eigenvectors(local.transposed_times(local.local), rank)
    basis = right if side == "right" else matrix.rows.own(_orthonormal(local, local.times(right), side))
    return basis.to(matrix.local.dtype)


def rsvd_basis(
    matrix: SpreadMatrix, rank: int, side: BasisSide, seed: Seed, *, power_steps: int, oversampling: int
) -> Tensor:
    """Return the singular vectors of the matrix within the span of a random sketch; sums and gathers thin
    matrices only.

    Args:
        matrix: whose vectors.
        rank: how many.
        side: which.
        seed: of the sketch.
        power_steps: how often the sketch is multiplied with the Gram matrix, 0 or more.
        oversampling: further directions of the sketch, 0 or more.

    >>> from graftwork_optim_core.common.sharding import Rows
    >>> matrix = SpreadMatrix(torch.diag(torch.tensor([1.0, 100.0])), (2, 2), Rows(torch.empty(0)))
    >>> rsvd_basis(matrix, 1, "right", (0, 0, 0), power_steps=1, oversampling=1).abs()
    tensor([[0.],
            [1.]])
    """
    rows, width = matrix.shape
    wide = min(rank + oversampling, rows, width)
    device, dtype = matrix.local.device, matrix.local.dtype
    # A step multiplies singular values by their squares. Without a QR factorization in between the small ones
    # would be lost in the rounding of the large; it is made on the side of the width, which needs no gather.
    if side == "right":
        sketch = matrix.transposed_times(matrix.rows.own(gaussian(rows, wide, seed, dtype, device)))
        for _ in range(power_steps):
            sketch = matrix.transposed_times(matrix.times(orthonormal_columns(sketch)))
    else:
        sketch = matrix.times(gaussian(width, wide, seed, dtype, device))
        for _ in range(power_steps):
            sketch = matrix.times(orthonormal_columns(matrix.transposed_times(sketch)))
    span = _orthonormal(matrix, sketch, side)
    if side == "right":
        image = matrix.times(span)
        gram = matrix.rows.sum(image.T @ image)
    else:
        image = matrix.transposed_times(matrix.rows.own(span))
        gram = image.T @ image
    # The product is orthonormal only as far as products are exact, and a user may have reduced that.
    basis = orthonormal_columns(span @ leading_eigenvectors(gram, rank))
    return matrix.rows.own(basis) if side == "left" else basis


def power_basis(matrix: SpreadMatrix, side: BasisSide, previous: Tensor) -> Tensor:
    """Return the previous basis after one block power step; sums and gathers thin matrices only.

    Every direction keeps a non-negative product with what it came from, so that coordinates move smoothly.

    Args:
        matrix: which the step multiplies with.
        side: of the basis.
        previous: orthonormal columns, this process's rows of a left basis.

    Raises:
        torch.linalg.LinAlgError: the step gives no direction at all, or one that is not finite.

    >>> from graftwork_optim_core.common.sharding import Rows
    >>> matrix = SpreadMatrix(torch.diag(torch.tensor([1.0, 100.0])), (2, 2), Rows(torch.empty(0)))
    >>> power_basis(matrix, "right", torch.tensor([[0.8], [-0.6]])).round(decimals=3)
    tensor([[ 0.],
            [-1.]])
    """
    if side == "right":
        return _orthonormal(matrix, matrix.transposed_times(matrix.times(previous)), side, from_previous=True)
    moved = matrix.times(matrix.transposed_times(previous))
    return matrix.rows.own(_orthonormal(matrix, moved, side, from_previous=True))


def _orthonormal(
    matrix: SpreadMatrix, columns: Tensor, side: BasisSide, *, from_previous: bool = False
) -> Tensor:
    """Return orthonormal columns, whole in every process also where the given ones are spread."""
    # A thin gather and one Householder factorization: a Cholesky factor of the summed Gram matrix would need
    # less communication, and fail wherever the columns are dependent.
    whole = matrix.rows.gather(columns) if side == "left" else columns
    if from_previous and not 0.0 < float(whole.abs().amax()) < math.inf:
        raise LinAlgError("the previous basis is not finite, or the matrix takes it to zero")
    return orthonormal_columns(whole)
