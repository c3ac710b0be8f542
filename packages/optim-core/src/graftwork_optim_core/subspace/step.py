"""The arithmetic of one step of a batch, see :mod:`graftwork_optim_core.subspace.optimizer` for its order.

Scalars are Python floats where the host may read them (a CPU) and otherwise tensors that are never read:
there a weight that must be skipped computes its step like any other, and ``torch.where`` keeps it from being
written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from graftwork_optim_core.common.scalars import Scalar, limit_growth
from graftwork_optim_core.numerics.stochastic_rounding import round_stochastically
from graftwork_optim_core.subspace.batch import Piece, Weight, WeightBatch
from graftwork_optim_core.subspace.transform import BiasCorrection, Direction


def refresh(batch: WeightBatch) -> None:
    """Let transforms take new coordinates where it is time to, and averages follow them."""
    host, transform = batch.plan.host, batch.plan.transform
    if transform.row_wise:
        return
    for index, weight in enumerate(batch.weights):
        change = transform.refresh(partial(batch.gradient, index), weight.site)
        if change is None:
            continue
        if change.restarts:
            for average in weight.averages:
                average.zero_()
            weight.state["step"].zero_()
        elif host.linear and weight.averages:
            stored = [[average] for average in weight.averages]
            working = host.load(stored, batch.arithmetic, copy=True)
            for number in host.linear:
                working[number] = [change.carry(average) for average in working[number]]
            host.store(working, stored, gates=None)


def local_squares(batch: WeightBatch) -> list[Tensor]:
    """Return the squared norm of every weight's next direction, of its local rows, and leave the state alone.

    Zero where norms are not needed; NaN where a gradient is not finite, so that a sum over processes is NaN
    too.
    """
    device = batch.weights[0].values.device
    squares: list[Scalar] = [0.0] * len(batch.weights)
    if batch.plan.needs_norm:
        lists = batch.pieces()
        extents = _extents(batch, lists)
        for pieces in lists:
            working = batch.plan.host.load(batch.stored(pieces), batch.arithmetic, copy=True)
            _accumulate(batch, pieces, working, _next_steps(batch))
            _add_squares(batch, pieces, working, squares)
    else:
        # The whole gradient's norm costs one pass over it; compressing it twice may cost far more.
        extents = [torch.linalg.vector_norm(batch.gradient(p)).square() for p in range(len(batch.weights))]
    result = []
    for square, extent in zip(squares, extents, strict=True):
        verdict = torch.where(torch.isfinite(torch.as_tensor(extent, device=device)), 0.0, math.nan)
        result.append(verdict.double() + square)
    return result


def make_step(batch: WeightBatch, totals: Sequence[Tensor] | None) -> Scalar:
    """Make one step of every weight of a batch.

    Args:
        batch: what to update.
        totals: squared norms summed over processes, a weight each, where weights are sharded.

    Returns:
        How many weights were skipped because a gradient was not finite.
    """
    lists = batch.pieces()
    extents = _extents(batch, lists) if totals is None else list(totals)
    skipped: Scalar
    if batch.reads_scalars:
        finite = [math.isfinite(extent) for extent in extents]
        lists = [
            kept for pieces in lists if (kept := [piece for piece in pieces if finite[piece.weight_index]])
        ]
        steps: list[Scalar] = [
            float(weight.state["step"].add_(1)) if moves else 0.0
            for weight, moves in zip(batch.weights, finite, strict=True)
        ]
        gates, skipped = None, float(finite.count(False))
    else:
        gate = torch.isfinite(torch.stack([torch.as_tensor(extent) for extent in extents]))
        counters = [weight.state["step"] for weight in batch.weights]
        torch._foreach_add_(counters, list(gate.float().unbind()))
        steps = list(torch.stack(counters).to(batch.arithmetic).unbind())
        gates, skipped = list(gate.unbind()), gate.logical_not().sum()
    held = _take_in(batch, lists, steps, gates, totals)
    if held is not None:
        squares, working = held
        divisors = _divisors(batch, squares, gates)
        for number, pieces in enumerate(lists):
            directions = working[number]
            if directions is None:
                averages = batch.plan.host.load(batch.stored(pieces), batch.arithmetic, copy=False)
                directions = _directions(batch, pieces, averages)
            _write(batch, pieces, directions, _factors(batch, steps, divisors), gates)
    for weight in batch.weights:
        weight.write_back()
    return skipped


Held = tuple[list[Scalar], list[list[Direction] | None]]


def _take_in(
    batch: WeightBatch,
    lists: list[list[Piece]],
    steps: list[Scalar],
    gates: list[Tensor] | None,
    totals: Sequence[Tensor] | None,
) -> Held | None:
    """Take the coarse gradients into the averages; move the weights already, where no norm has to be known.

    Returns:
        Otherwise each weight's squared norm, and the averages of each list where they are still at hand.
    """
    host, plan = batch.plan.host, batch.plan
    squares: list[Scalar] = [0.0] * len(batch.weights)
    held: list[list[Direction] | None] = []
    factors = None if plan.needs_norm else _factors(batch, steps, [1.0] * len(squares))
    for pieces in lists:
        stored = batch.stored(pieces)
        working = host.load(stored, batch.arithmetic, copy=gates is not None)
        _accumulate(batch, pieces, working, steps)
        piece_gates = None if gates is None else [gates[piece.weight_index] for piece in pieces]
        host.store(working, stored, piece_gates)
        if factors is not None:
            _write(batch, pieces, _directions(batch, pieces, working), factors, gates)
            continue
        if totals is None:
            held.append(_add_squares(batch, pieces, working, squares))
        else:
            held.append(_directions(batch, pieces, working) if len(lists) == 1 else None)
    if factors is not None:
        return None
    return (squares if totals is None else [_scalar(batch, total) for total in totals]), held


def _scalar(batch: WeightBatch, value: Tensor) -> Scalar:
    return float(value) if batch.reads_scalars else value


def _next_steps(batch: WeightBatch) -> list[Scalar]:
    steps = [weight.state["step"] + 1 for weight in batch.weights]
    return [_scalar(batch, step) for step in steps]


def _accumulate(
    batch: WeightBatch, pieces: list[Piece], working: list[list[Tensor]], steps: Sequence[Scalar]
) -> None:
    coarse = [piece.coarse for piece in pieces]
    own_steps = [steps[piece.weight_index] for piece in pieces]
    batch.plan.host.accumulate(working, coarse, own_steps, batch.sites(pieces))


def _directions(batch: WeightBatch, pieces: list[Piece], working: list[list[Tensor]]) -> list[Direction]:
    return batch.plan.host.direction(working, [piece.coarse for piece in pieces], batch.sites(pieces))


def _extents(batch: WeightBatch, lists: list[list[Piece]]) -> list[Scalar]:
    """Return a number a weight, finite exactly if the gradient is and its squared norm does not overflow."""
    extents: list[Scalar] = [0.0] * len(batch.weights)
    for pieces in lists:
        norms = torch._foreach_norm([piece.coarse for piece in pieces])
        for piece, norm in zip(pieces, norms, strict=True):
            # Squared: a gradient whose square is infinite would poison a mean square for ever.
            square = norm.square()
            extents[piece.weight_index] = extents[piece.weight_index] + (
                float(square) if batch.reads_scalars else square
            )
    return extents


def _add_squares(
    batch: WeightBatch, pieces: list[Piece], working: list[list[Tensor]], squares: list[Scalar]
) -> list[Direction]:
    directions = _directions(batch, pieces, working)
    quotients = [direction.quotient() for direction in directions]
    for piece, norm in zip(pieces, torch._foreach_norm(quotients), strict=True):
        number = float(norm) if batch.reads_scalars else norm.to(batch.arithmetic)
        squares[piece.weight_index] = squares[piece.weight_index] + number * number
    return directions


def _divisors(batch: WeightBatch, squares: Sequence[Scalar], gates: list[Tensor] | None) -> list[Scalar]:
    """Return by what to divide each weight's update, and remember the norms whose growth is limited."""
    plan = batch.plan
    norms = [s.sqrt() if isinstance(s, Tensor) else math.sqrt(s) if s >= 0 else math.nan for s in squares]
    divisors: list[Scalar] = [1.0] * len(norms)
    if plan.host.measures:
        for index, weight in enumerate(batch.weights):
            divisors[index] = plan.host.divisor(norms[index], _coarse_elements(batch, weight))
            norms[index] = norms[index] / divisors[index]
    limit = plan.norm_growth_limit
    if limit is None:
        return divisors
    if gates is None:
        for index, (norm, weight) in enumerate(zip(norms, batch.weights, strict=True)):
            previous = weight.state["previous_norm"]
            if math.isfinite(float(norm)):
                limited, new = limit_growth(norm, float(previous), limit)
                previous.fill_(new)
                divisors[index] = divisors[index] * limited
        return divisors
    stacked = torch.stack([torch.as_tensor(norm) for norm in norms])
    both = zip(divisors, batch.limited(stacked, torch.stack(gates)).unbind(), strict=True)
    return [one * two for one, two in both]


def _coarse_elements(batch: WeightBatch, weight: Weight) -> int:
    rows, columns = batch.plan.transform.coarse_shape(weight.site.shape)
    return rows * columns


class Factors(NamedTuple):
    """Numbers of one weight's step.

    Args:
        correction: of the averages' start at zero.
        rate: what the update is multiplied by, ``lr * scale / divisor``.
        kept: what decay leaves of the weight; None leaves all.
    """

    correction: BiasCorrection
    rate: Scalar
    kept: Scalar | None


def _factors(batch: WeightBatch, steps: Sequence[Scalar], divisors: Sequence[Scalar]) -> list[Factors]:
    options, host, scale = batch.options, batch.plan.host, batch.plan.scale
    lr, decay = options["lr"], options["weight_decay"]
    if isinstance(lr, Tensor):
        lr = float(lr) if batch.reads_scalars else lr.reshape(())
    kept = 1 - lr * decay if decay else None
    corrections = _corrections(batch, steps)
    factors = []
    for index, (weight, step, divisor) in enumerate(zip(batch.weights, steps, divisors, strict=True)):
        if isinstance(step, float) and step == 0.0:
            factors.append(Factors(BiasCorrection(), 0.0, None))
            continue
        rate = host.rate(lr, step, weight.values, weight.site) * scale / divisor
        factors.append(Factors(corrections[index], rate, kept))
    return factors


def _corrections(batch: WeightBatch, steps: Sequence[Scalar]) -> list[BiasCorrection]:
    host = batch.plan.host
    if batch.reads_scalars:
        return [host.correction(step) if step else BiasCorrection() for step in steps]
    # All weights' at once: on an accelerator every operation on a scalar is a kernel.
    stacked = torch.stack([torch.as_tensor(step) for step in steps])
    both = host.correction(stacked)
    means, roots = (torch.as_tensor(one).expand(len(steps)).unbind() for one in (both.mean, both.root))
    return [BiasCorrection(mean, root) for mean, root in zip(means, roots, strict=True)]


def _write(
    batch: WeightBatch,
    pieces: list[Piece],
    directions: list[Direction],
    factors: list[Factors],
    gates: list[Tensor] | None,
) -> None:
    host, transform = batch.plan.host, batch.plan.transform
    for piece, direction in zip(pieces, directions, strict=True):
        correction, rate, kept = factors[piece.weight_index]
        weight = batch.weights[piece.weight_index]
        values = weight.values[piece.rows]
        gradient = (
            batch.gradient(piece.weight_index, piece.rows) if transform.needs_gradient else piece.coarse
        )
        arguments = (gradient, piece.coarse, direction, correction, weight.site)
        # A product added to the weight needs no update of the weight's size in between.
        plain = gates is None and not host.finishes and values.dtype == batch.arithmetic
        if plain and isinstance(rate, float) and transform.descend(values, *arguments, rate):
            if kept is not None:
                values.mul_(kept)
            continue
        update = transform.expand(*arguments)
        if host.finishes:
            update = host.finish(update, weight.site)
        if isinstance(rate, Tensor):
            update, rate = update.mul_(rate), 1.0
        if gates is not None:
            gate = gates[piece.weight_index]
            update = torch.where(gate, update, 0.0)
            kept = None if kept is None else torch.where(gate, torch.as_tensor(kept, dtype=update.dtype), 1.0)
        if batch.options["stochastic_rounding"] and values.dtype == torch.bfloat16:
            moved = values.to(update.dtype).sub_(update, alpha=rate).mul_(1.0 if kept is None else kept)
            _round_stochastically(batch, piece, moved)
        else:
            _descend(values, update, rate, kept)


def _round_stochastically(batch: WeightBatch, piece: Piece, moved: Tensor) -> None:
    """Write values into a bfloat16 weight so that their expectation is kept.

    A weight that was skipped is written as it is: a bfloat16 number rounds to itself.
    """
    weight = batch.weights[piece.weight_index]
    first_index = (piece.rows.start or 0) * moved.shape[1]
    seed = (weight.site.index, *weight.site.rows.part, weight.state["step"])
    weight.values[piece.rows].copy_(round_stochastically(moved, seed, first_index))


def _descend(values: Tensor, update: Tensor, rate: float, kept: Scalar | None) -> None:
    """``W <- (W - rate * U) * kept``, rounded to the weight's dtype once."""
    if kept is None or values.dtype == update.dtype:
        values.sub_(update, alpha=rate)
        if kept is not None:
            values.mul_(kept)
    else:
        values.copy_(values.to(update.dtype).sub_(update, alpha=rate).mul_(kept))
