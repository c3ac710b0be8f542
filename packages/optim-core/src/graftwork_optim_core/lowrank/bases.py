"""The basis of a gradient by a method's name, and what two bases of one space have to do with each other.

Sources: GaLore, arXiv:2403.03507 (leading singular vectors); GoLore, arXiv:2410.11289 (random bases, and the
map ``P_new^T P_old`` that takes the momentum along).

Shapes: the gradient is ``[rows, width]`` and its rows may lie in several processes; a right basis is
``[width, rank]``, a left one ``[rows, rank]``, of which each process holds the rows that it holds of the
gradient.

Nothing here raises because of the numbers in a gradient: where there is no basis, it is said why.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from graftwork_optim_core.common.sharding import Rows
from graftwork_optim_core.lowrank.linear_algebra import LinAlgError, RowExchange, SpreadMatrix
from graftwork_optim_core.lowrank.random_basis import Seed, random_basis
from graftwork_optim_core.lowrank.singular_bases import (
    BasisSide,
    gram_basis,
    power_basis,
    rsvd_basis,
    svd_basis,
)

BasisMethod = Literal["svd", "gram", "rsvd", "power", "random"]

_SAFE_EXPONENT = 40


class BasisVerdict(Enum):
    """Whether a gradient has a basis, and if not, why."""

    FOUND = "found"
    NOT_FINITE = "a gradient that is not finite"
    ZERO = "a gradient of zeros"
    FAILED = "a decomposition that did not converge"


@dataclass(frozen=True, slots=True, eq=False)
class BasisResult:
    """A basis, or none and the reason; the verdict is the same in every process."""

    basis: Tensor | None
    verdict: BasisVerdict


def basis_of(
    method: BasisMethod,
    gradient: Tensor,
    rank: int,
    side: BasisSide,
    *,
    shape: tuple[int, int] | None = None,
    rows: RowExchange | None = None,
    previous: Tensor | None = None,
    seed: Seed = (0, 0, 0),
    power_steps: int = 2,
    oversampling: int = 8,
    gram_in_float64: bool = False,
) -> BasisResult:
    """Return an orthonormal basis for a gradient's left or right side.

    A method that fails gives way to the next of ``power`` or ``rsvd``, ``gram``, ``svd``. The result has a
    storage of its own; it is float64 where the gradient is, else float32, in which bfloat16 and float16 are
    computed.

    Args:
        method: which directions. ``random`` asks nothing of the gradient but its shape, dtype and device, and
            therefore always finds a basis.
        gradient: ``[rows, width]``, this process's rows of it.
        rank: directions, 1 to the smaller dimension of the whole.
        side: "left" for a basis of the columns' space, "right" for one of the rows'.
        shape: of the whole gradient; None where this process holds all rows.
        rows: the way to the other rows; None where this process holds all.
        previous: the basis until now, from which ``power`` starts; without one of the right shape it is
            ``gram``.
        seed: of ``random`` bases and of the sketch of ``rsvd``.
        power_steps: of ``rsvd``.
        oversampling: of ``rsvd``.
        gram_in_float64: whether ``gram``, also in another's place, computes in float64.

    >>> gradient = torch.tensor([[0.0, 3.0, 0.0], [0.0, 0.0, 1.0]])
    >>> basis_of("gram", gradient, 1, "left").basis.abs()
    tensor([[1.],
            [0.]])
    >>> basis_of("gram", torch.zeros(2, 3), 1, "left").verdict
    <BasisVerdict.ZERO: 'a gradient of zeros'>
    """
    rows = Rows(gradient) if rows is None else rows
    whole_shape = (gradient.shape[0], gradient.shape[1]) if shape is None else shape
    dtype = torch.float64 if gradient.dtype == torch.float64 else torch.float32
    if method == "random":
        size = whole_shape[0] if side == "left" else whole_shape[1]
        whole = random_basis(size, rank, seed, dtype, gradient.device)
        return BasisResult(_owned(rows.own(whole) if side == "left" else whole), BasisVerdict.FOUND)
    values = gradient.to(dtype)
    extent = _extent(values, rows)
    if not math.isfinite(extent):
        return BasisResult(None, BasisVerdict.NOT_FINITE)
    if extent == 0.0:
        return BasisResult(None, BasisVerdict.ZERO)
    matrix = SpreadMatrix(_rescaled(values, extent), whole_shape, rows)

    svd = partial(svd_basis, matrix, rank, side)
    gram = partial(gram_basis, matrix, rank, side, in_float64=gram_in_float64)
    attempts: list[Callable[[], Tensor]] = [svd] if method == "svd" else [gram, svd]
    expected = (gradient.shape[0] if side == "left" else gradient.shape[1], rank)
    if method == "power" and previous is not None and previous.shape == expected:
        attempts.insert(0, partial(power_basis, matrix, side, previous.to(dtype)))
    elif method == "rsvd":
        sketch = {"power_steps": power_steps, "oversampling": oversampling}
        attempts.insert(0, partial(rsvd_basis, matrix, rank, side, seed, **sketch))
    for attempt in attempts:
        try:
            return BasisResult(_owned(attempt()), BasisVerdict.FOUND)
        except LinAlgError:
            continue
    return BasisResult(None, BasisVerdict.FAILED)


def _extent(values: Tensor, rows: RowExchange) -> float:
    """Return a number that is 0 only for zeros, finite only for finite values, else about the largest."""
    if values.numel():
        lowest, highest = values.aminmax()
        local = torch.maximum(lowest.neg(), highest)
    else:
        local = values.new_zeros(())
    return float(rows.sum(local.reshape(1)))


def _rescaled(values: Tensor, extent: float) -> Tensor:
    """Return the values times a power of two, if they are so large or small that squares could be lost."""
    exponent = -math.frexp(extent)[1]
    if abs(exponent) <= _SAFE_EXPONENT:
        return values
    # Twice half of it: 2 ** 149, which takes the smallest float32 to 1, is none itself.
    half = exponent // 2
    return (values * 2.0**half) * 2.0 ** (exponent - half)


def _owned(basis: Tensor) -> Tensor:
    """Return the basis in a storage of its own: a slice would keep the whole factor alive."""
    if basis.is_contiguous() and basis.untyped_storage().nbytes() == basis.numel() * basis.element_size():
        return basis
    return basis.clone(memory_format=torch.contiguous_format)


def overlap(old: Tensor, new: Tensor, rows: RowExchange | None = None) -> Tensor:
    """Return ``new^T old`` ``[rank, rank]``, which takes left-projected momentum into the new basis.

    ``M <- P_new^T (P_old M)`` for a left basis; a right one's momentum takes the transposed from the right.

    Args:
        old: ``[size, rank]``.
        new: ``[size, rank]``.
        rows: of a left basis whose rows are spread; None where both are whole.

    >>> overlap(torch.eye(3)[:, :2], torch.eye(3)[:, [1, 2]])
    tensor([[0., 1.],
            [0., 0.]])
    """
    product = new.T @ old
    return product if rows is None else rows.sum(product)
