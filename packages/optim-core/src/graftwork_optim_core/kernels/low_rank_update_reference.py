"""Updates of rank r and random perturbations in plain torch, on any device; what they compute stands in
:mod:`graftwork_optim_core.kernels.low_rank_update`.

float32 and float64 weights are written by the matrix product itself. A weight in half precision goes through
float32 in pieces of some ten thousand elements, and so does what is drawn for a perturbation of full rank:
nothing as large as a weight is made.

Shapes: weights ``[rows, columns]``, left factors ``[rows, rank]``, right factors ``[columns, rank]``. Nothing
is read back to the host from an accelerator, and nothing is raised: the arguments have been checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from graftwork_optim_core.common.parameters import arithmetic_dtype
from graftwork_optim_core.numerics.philox import NormalBatch
from graftwork_optim_core.numerics.stochastic_rounding import round_stochastically

PIECE = 1 << 16
"""Elements of a piece; of a matrix with gaps between longer rows, one row."""


def perturb_low_rank(
    weights: Sequence[Tensor],
    rights: Sequence[Tensor],
    coefficient: Tensor,
    seed: int,
    moment: Tensor,
    parameter_indices: Sequence[int],
    role: int,
    first_rows: Sequence[int],
    rounding: Tensor | None,
) -> None:
    """Add ``coefficient U_i V_i^T``; see :func:`~.low_rank_update.perturb_low_rank`."""
    rank = rights[0].shape[1]
    runs = tuple(
        (index, first * rank, weight.shape[0] * rank)
        for index, first, weight in zip(parameter_indices, first_rows, weights, strict=True)
    )
    lefts = _batch(runs, weights[0].device).draw(seed, moment, role)
    factors = zip(lefts, rights, parameter_indices, first_rows, strict=True)
    for weight, (left, right, index, first_row) in zip(weights, factors, strict=True):
        scaled = left.view(-1, rank).to(arithmetic_dtype(weight)) * coefficient
        _add_product(weight, scaled, right, index, first_row, rounding)


def perturb_full(
    weights: Sequence[Tensor],
    coefficient: Tensor,
    seed: int,
    moment: Tensor,
    parameter_indices: Sequence[int],
    role: int,
    first_elements: Sequence[int],
) -> None:
    """Add ``coefficient z_i``; see :func:`~.low_rank_update.perturb_full`."""
    for pieces, runs in _batches_of_pieces(weights, parameter_indices, first_elements):
        drawn = _batch(runs, weights[0].device).draw(seed, moment, role)
        for piece, normal in zip(pieces, drawn, strict=True):
            move = normal.view(piece.shape).to(arithmetic_dtype(piece)).mul_(coefficient)
            piece.copy_(move.add_(piece))


def merge_low_rank(
    weights: Sequence[Tensor],
    lefts: Sequence[Tensor],
    rights: Sequence[Tensor],
    scale: Tensor,
    decay: Tensor,
    parameter_indices: Sequence[int],
    first_rows: Sequence[int],
    rounding: Tensor | None,
) -> None:
    """Replace by ``decay W_i + scale A_i V_i^T``; see :func:`~.low_rank_update.merge_low_rank`."""
    factors = zip(lefts, rights, parameter_indices, first_rows, strict=True)
    # On a CPU nothing waits for the look that saves a pass.
    kept = None if decay.device.type == "cpu" and decay == 1 else decay
    for weight, (left, right, index, first_row) in zip(weights, factors, strict=True):
        scaled = left.to(arithmetic_dtype(weight)) * scale
        _add_product(weight, scaled, right, index, first_row, rounding, kept)


def _add_product(
    weight: Tensor,
    left: Tensor,
    right: Tensor,
    parameter_index: int,
    first_row: int,
    rounding: Tensor | None,
    decay: Tensor | None = None,
) -> None:
    right = right.to(left.dtype)
    if weight.dtype == left.dtype:
        _add_product_here(weight, left, right, decay)
        return
    stochastic = rounding is not None and weight.dtype == torch.bfloat16
    seed_parts = [parameter_index, *_whole_numbers(rounding)] if rounding is not None else []
    columns = weight.shape[1]
    step = max(1, PIECE // max(1, columns))
    for start in range(0, weight.shape[0], step):
        piece = weight[start : start + step]
        wide = piece.to(left.dtype)
        _add_product_here(wide, left[start : start + step], right, decay)
        if stochastic:
            piece.copy_(round_stochastically(wide, seed_parts, (first_row + start) * columns))
        else:
            piece.copy_(wide)


def _add_product_here(weight: Tensor, left: Tensor, right: Tensor, decay: Tensor | None) -> None:
    # Before the product and not within it as beta, with which a CPU's library takes longer than both.
    if decay is not None:
        weight.mul_(decay)
    # Transposed, the product is faster from rank 4 on, and no slower below.
    weight.T.addmm_(right, left.T)


def _batches_of_pieces(
    weights: Sequence[Tensor], parameter_indices: Sequence[int], first_elements: Sequence[int]
) -> Iterator[tuple[list[Tensor], tuple[tuple[int, int, int], ...]]]:
    """Cut the weights and gather the pieces to about as many elements as a piece may have.

    Yields the pieces, and of each its parameter, its first element and its number of elements.
    """
    pieces: list[Tensor] = []
    runs: list[tuple[int, int, int]] = []
    gathered = 0
    for weight, index, first in zip(weights, parameter_indices, first_elements, strict=True):
        for piece, offset in _pieces(weight):
            if pieces and gathered + piece.numel() > PIECE:
                yield pieces, tuple(runs)
                pieces, runs, gathered = [], [], 0
            pieces.append(piece)
            runs.append((index, first + offset, piece.numel()))
            gathered += piece.numel()
    if pieces:
        yield pieces, tuple(runs)


def _pieces(weight: Tensor) -> Iterator[tuple[Tensor, int]]:
    """Yield views of at most ``PIECE`` elements, or of one row, and where each begins."""
    if weight.is_contiguous():
        flat = weight.view(-1)
        for start in range(0, len(flat), PIECE):
            yield flat[start : start + PIECE], start
        return
    columns = weight.shape[1]
    step = max(1, PIECE // max(1, columns))
    for start in range(0, weight.shape[0], step):
        yield weight[start : start + step], start * columns


@lru_cache(maxsize=8)
def _batch(runs: tuple[tuple[int, int, int], ...], device: torch.device) -> NormalBatch:
    return NormalBatch(runs, device)


def _whole_numbers(parts: Tensor) -> list[int] | list[Tensor]:
    """Return the seed parts; on a CPU as numbers, which are faster to hash."""
    if parts.device.type == "cpu":
        numbers: list[int] = parts.tolist()
        return numbers
    return list(parts.unbind())
