"""One step of many small weights of one width, stacked row upon row into a single matrix.

Rows are independent but for a few scalars a weight, which become a column of the stack. On a CPU a call costs
more than the arithmetic of a small weight, and a stack makes the calls once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from graftwork_optim_core.common.scalars import Scalar
from graftwork_optim_core.subspace.batch import WeightBatch
from graftwork_optim_core.subspace.site import Site
from graftwork_optim_core.subspace.transform import BiasCorrection

LARGEST = 2**14
"""Elements of the largest weight that is stacked: beyond it the copies cost more than the calls."""


def step_stacked(batch: WeightBatch) -> Scalar:
    """Make one step of every weight of a batch of equal widths; return how many were skipped."""
    host, transform, options = batch.plan.host, batch.plan.transform, batch.options
    weights, dtype = batch.weights, batch.arithmetic
    counts = [weight.values.shape[0] for weight in weights]
    owners = torch.repeat_interleave(torch.arange(len(weights)), torch.tensor(counts))
    gradient = torch.cat([weight.gradient for weight in weights]).to(dtype)
    gradient = gradient.neg_() if options["maximize"] else gradient
    site = Site((len(owners), gradient.shape[1]), weights[0].site.rows)
    coarse = transform.compress(gradient, site)
    moves = torch.isfinite(_sum_by_owner(coarse.square().sum(1), owners, len(weights)))
    all_move = bool(moves.all())
    steps = _count(batch, moves, all_move).to(dtype)
    stored = [torch.cat(list(one)) for one in zip(*(weight.averages for weight in weights), strict=True)]
    working = [[one.to(dtype, copy=True)] for one in stored]
    host.accumulate(working, [coarse], [steps[owners, None]], [site])
    (direction,) = host.direction(working, [coarse], [site])
    rates = torch.full_like(steps, float(options["lr"]) * batch.plan.scale)
    if batch.plan.norm_growth_limit is not None:
        norms = _sum_by_owner(direction.quotient().square().sum(1), owners, len(weights)).sqrt()
        rates /= batch.limited(norms, moves)
    both = host.correction(steps)
    correction = BiasCorrection(_by_row(both.mean, owners), _by_row(both.root, owners))
    update = transform.expand(gradient, coarse, direction, correction, site)
    values = torch.cat([weight.values for weight in weights])
    new = values.to(dtype) - update.mul_(rates[owners, None])
    if options["weight_decay"]:
        new *= 1 - float(options["lr"]) * options["weight_decay"]
    kept = None if all_move else moves[owners, None]
    _scatter(new, values, [weight.values for weight in weights], counts, kept)
    for number, (one, old) in enumerate(zip(working, stored, strict=True)):
        _scatter(one[0], old, [weight.averages[number] for weight in weights], counts, kept)
    for weight in weights:
        weight.write_back()
    return float(len(weights) - int(moves.sum()))


def _sum_by_owner(by_row: Tensor, owners: Tensor, count: int) -> Tensor:
    return torch.zeros(count, dtype=by_row.dtype).index_add_(0, owners, by_row)


def _by_row(scalar: Scalar, owners: Tensor) -> Scalar:
    return scalar[owners, None] if isinstance(scalar, Tensor) else scalar


def _count(batch: WeightBatch, moves: Tensor, all_move: bool) -> Tensor:
    counters = [weight.state["step"] for weight in batch.weights]
    if all_move:
        torch._foreach_add_(counters, 1)
    else:
        torch._foreach_add_(counters, list(moves.float().unbind()))
    # A weight that has not moved yet must not divide by a correction of zero.
    return torch.stack(counters).clamp_(min=1)


def _scatter(
    new: Tensor, old: Tensor, targets: list[Tensor], counts: Sequence[int], kept: Tensor | None
) -> None:
    if kept is not None:
        new = torch.where(kept, new, old.to(new.dtype))
    torch._foreach_copy_(targets, list(torch.split(new.to(old.dtype), list(counts))))
