"""The arithmetic of one step of a batch, see :mod:`graftwork_optim_core.subspace.optimizer` for its order.

Scalars are Python floats where the host may read them (a CPU) and otherwise tensors that are never read:
there a weight that must be skipped computes its step like any other, and ``torch.where`` keeps it from being
written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from graftwork_optim_core.subspace.batch import Batch, Piece
from graftwork_optim_core.subspace.hosts import UpdateHost
from graftwork_optim_core.subspace.scalars import Scalar, limit_growth
from graftwork_optim_core.subspace.transform import BiasCorrection


def local_squares(batch: Batch, host: UpdateHost) -> list[Tensor]:
    """Return the squared norm of every weight's next direction, of its local rows, and leave the state alone.

    Zero where norms are not limited; NaN where a gradient is not finite, so that a sum over processes is NaN
    too.
    """
    lists = batch.pieces()
    squares = _accumulate(batch, host, lists, gates=None, commit=False)
    device = batch.weights[0].values.device
    result = []
    for square, extent in zip(squares, _extents(batch, lists), strict=True):
        verdict = torch.where(torch.isfinite(torch.as_tensor(extent, device=device)), 0.0, math.nan)
        result.append(verdict.double() + square)
    return result


def make_step(batch: Batch, host: UpdateHost, totals: Sequence[Tensor] | None) -> Scalar:
    """Make one step of every weight of a batch.

    Args:
        batch: what to update.
        host: the rule for its averages.
        totals: squared norms summed over processes, a weight each, where weights are sharded.

    Returns:
        How many weights were skipped because a gradient was not finite.
    """
    lists = batch.pieces()
    extents = _extents(batch, lists) if totals is None else list(totals)
    if batch.reads_scalars:
        finite = [math.isfinite(extent) for extent in extents]
        lists = [kept for pieces in lists if (kept := [piece for piece in pieces if finite[piece.place]])]
        squares = _accumulate(batch, host, lists, gates=None, commit=True)
        factors = _factors_on_host(batch, host, finite, [float(s) for s in totals or squares])
        _write(batch, host, lists, factors, gates=None)
        return float(finite.count(False))
    gate = torch.isfinite(torch.stack([torch.as_tensor(extent) for extent in extents]))
    gates = list(gate.unbind())
    squares = _accumulate(batch, host, lists, gates, commit=True)
    summed = torch.stack([torch.as_tensor(s) for s in totals or squares]) if batch.limited else None
    factors = _factors_on_device(batch, host, gate, summed)
    _write(batch, host, lists, factors, gates)
    return gate.logical_not().sum()


def _extents(batch: Batch, lists: list[list[Piece]]) -> list[Scalar]:
    """Return a number a weight, finite exactly if the gradient is and its squared norm does not overflow."""
    extents: list[Scalar] = [0.0] * len(batch.weights)
    for pieces in lists:
        norms = torch._foreach_norm([piece.coarse for piece in pieces])
        for piece, norm in zip(pieces, norms, strict=True):
            # Squared: a gradient whose square is infinite would poison a mean square for ever.
            square = norm.square()
            extents[piece.place] = extents[piece.place] + (float(square) if batch.reads_scalars else square)
    return extents


def _accumulate(
    batch: Batch, host: UpdateHost, lists: list[list[Piece]], gates: list[Tensor] | None, commit: bool
) -> list[Scalar]:
    """Take the coarse gradients into the averages, or into copies; return each direction's squared norm."""
    squares: list[Scalar] = [0.0] * len(batch.weights)
    options = batch.options
    for pieces in lists:
        coarse = [piece.coarse for piece in pieces]
        stored = _averages(batch, pieces)
        in_place = commit and gates is None and stored[0][0].dtype == batch.arithmetic
        working = stored if in_place else [[t.to(batch.arithmetic, copy=True) for t in one] for one in stored]
        host.accumulate(working, coarse, options)
        if batch.limited:
            directions = host.direction(working, options)
            quotients = torch._foreach_div(
                [direction.numerator for direction in directions],
                [direction.denominator for direction in directions],
            )
            for piece, norm in zip(pieces, torch._foreach_norm(quotients), strict=True):
                number = float(norm) if batch.reads_scalars else norm.to(batch.arithmetic)
                squares[piece.place] = squares[piece.place] + number * number
        if commit and not in_place:
            for one, new in zip(stored, working, strict=True):
                for position, (target, value) in enumerate(zip(one, new, strict=True)):
                    gate = gates[pieces[position].place] if gates is not None else None
                    target.copy_(value if gate is None else torch.where(gate, value, target.to(value.dtype)))
    return squares


def _averages(batch: Batch, pieces: list[Piece]) -> list[list[Tensor]]:
    count = len(batch.weights[0].averages)
    return [[batch.weights[p.place].averages[number][p.rows] for p in pieces] for number in range(count)]


Factors = tuple[BiasCorrection, Scalar, Scalar | None]
"""Of one weight: bias corrections, rate ``lr * scale / q``, and what decay leaves of it (None: all)."""


def _factors_on_host(
    batch: Batch, host: UpdateHost, finite: list[bool], squares: list[float]
) -> list[Factors | None]:
    options = batch.options
    lr = float(options["lr"])
    kept = 1 - lr * options["weight_decay"] if options["weight_decay"] else None
    factors: list[Factors | None] = []
    for weight, moves, square in zip(batch.weights, finite, squares, strict=True):
        if not moves:
            factors.append(None)
            continue
        step = weight.state["step"].add_(1)
        rate = lr * batch.scale
        if batch.limited:
            previous = weight.state["previous_norm"]
            divisor, remembered = limit_growth(
                math.sqrt(square), float(previous), options["norm_growth_limit"]
            )
            previous.fill_(remembered)
            rate = rate / float(divisor)
        factors.append((host.correction(float(step), options), rate, kept))
    return factors


def _factors_on_device(
    batch: Batch, host: UpdateHost, gate: Tensor, squares: Tensor | None
) -> list[Factors | None]:
    options = batch.options
    lr = options["lr"].reshape(()) if isinstance(options["lr"], Tensor) else options["lr"]
    steps = [weight.state["step"] for weight in batch.weights]
    torch._foreach_add_(steps, list(gate.float().unbind()))
    corrections = host.correction(torch.stack(steps).to(batch.arithmetic), options)
    rates = torch.ones_like(gate, dtype=batch.arithmetic) * (lr * batch.scale)
    if squares is not None:
        previous = [weight.state["previous_norm"] for weight in batch.weights]
        former = torch.stack(previous)
        divisors, remembered = limit_growth(
            squares.sqrt().to(former.dtype), former, options["norm_growth_limit"]
        )
        torch._foreach_copy_(previous, list(torch.where(gate, remembered, former).unbind()))
        rates = rates / divisors
    kept: Sequence[Scalar | None] = [None] * len(steps)
    if options["weight_decay"]:
        kept = torch.where(gate, 1 - lr * options["weight_decay"], torch.ones_like(rates)).unbind()
    means = torch.as_tensor(corrections.mean).expand_as(rates).unbind()
    roots = torch.as_tensor(corrections.root).expand_as(rates).unbind()
    return [
        (BiasCorrection(mean, root), rate, keep)
        for mean, root, rate, keep in zip(means, roots, rates.unbind(), kept, strict=True)
    ]


def _write(
    batch: Batch,
    host: UpdateHost,
    lists: list[list[Piece]],
    factors: list[Factors | None],
    gates: list[Tensor] | None,
) -> None:
    options = batch.options
    for pieces in lists:
        stored = _averages(batch, pieces)
        averages = [[t.to(batch.arithmetic) for t in one] for one in stored]
        for piece, direction in zip(pieces, host.direction(averages, options), strict=True):
            factor = factors[piece.place]
            assert factor is not None
            correction, rate, kept = factor
            gradient = batch.gradient(piece.place, piece.rows)
            update = batch.transform.expand(gradient, piece.coarse, direction, correction)
            if isinstance(rate, Tensor):
                update, rate = update.mul_(rate), 1.0
            if gates is not None:
                update = torch.where(gates[piece.place], update, 0.0)
            _descend(batch.weights[piece.place].values[piece.rows], update, rate, kept)
    for weight in batch.weights:
        weight.write_back()


def _descend(values: Tensor, update: Tensor, rate: float, kept: Scalar | None) -> None:
    """``W <- (W - rate * U) * kept``, rounded to the weight's dtype once."""
    if kept is None or values.dtype == update.dtype:
        values.sub_(update, alpha=rate)
        if kept is not None:
            values.mul_(kept)
    else:
        values.copy_(values.to(update.dtype).sub_(update, alpha=rate).mul_(kept))
