"""The step itself: from slopes to movement.

With ``G`` the mean over probes of ``c`` times the direction: ``N <- beta N + (1 - beta) G``, at a group's
first step ``N = G``; ``X <- (1 - lr weight_decay) X - lr scale N V^T``. Slopes stay on their device. A step
that is skipped leaves N and the weights; decay it does not skip.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graftwork_optim_core.zeroth_order.evaluation import Evaluation
from graftwork_optim_core.zeroth_order.in_place import ProbeKey, add_to_weights, stream
from graftwork_optim_core.zeroth_order.pool import Pool, PoolSegment
from graftwork_optim_core.zeroth_order.weights import Weights

PIECE = 1 << 16
"""Elements that are converted from one dtype to another at once."""


def update(
    weights: Weights,
    evaluation: Evaluation,
    slopes: Tensor,
    finite: Tensor,
    seed: int,
    step: int,
    eps: float,
) -> None:
    """Move all weights, and bring those perturbed in place back from where they stand.

    Args:
        weights: what is held.
        evaluation: knows which weights are perturbed in place, and where they stand.
        slopes: of all probes, ``[probes]``; zeros where the step is skipped.
        finite: whether the step is made.
        seed: of the directions.
        step: number of the step.
        eps: how far weights are perturbed.
    """
    gate = finite.to(slopes.dtype)
    firsts = {id(group): int(count) == 0 for group, count in zip(weights.groups, weights.steps, strict=True)}
    back = -evaluation.offset * eps
    for pool, rights in zip(weights.pools, weights.rights, strict=True):
        restored = pool.direction * back if back else None
        gradient, slope = _gradient(pool, slopes, seed, step)
        movement = torch.empty_like(pool.direction)
        for segment in pool.segments:
            part = slice(segment.start, segment.stop)
            first = firsts[id(segment.group)]
            _segment(pool, segment, gradient[part], slope, gate, movement[part], first=first)
        _apply(pool, rights, evaluation, movement, restored)
    _streamed(weights, slopes, gate, firsts, seed, step, back)
    evaluation.offset = 0.0
    for group in weights.groups:
        group["pending_decay"] *= _kept(group)


def _gradient(pool: Pool, slopes: Tensor, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Return the mean of directions times slopes as a flat tensor and a factor of it."""
    slopes = slopes.to(pool.dtype).to(pool.device, non_blocking=True)
    if len(slopes) == 1:
        return pool.direction, slopes[0]
    total = torch.zeros_like(pool.direction)
    for probe, slope in enumerate(slopes.unbind()):
        pool.draw(seed, step, probe)
        total.addcmul_(pool.direction, slope)
    return total, torch.full_like(slopes[0], 1 / len(slopes))


def _segment(
    pool: Pool,
    segment: PoolSegment,
    gradient: Tensor,
    slope: Tensor,
    gate: Tensor,
    movement: Tensor,
    *,
    first: bool,
) -> None:
    group = segment.group
    rate = _rate(group) * segment.scale
    if group["momentum"] == 0 or pool.momentum is None:
        torch.mul(gradient, slope * -rate, out=movement)
        return
    momentum = pool.momentum[segment.start : segment.stop]
    _average(momentum, gradient, slope, gate.to(pool.dtype).to(pool.device), group["momentum"], first)
    torch.mul(momentum, gate.to(pool.dtype).to(pool.device) * -rate, out=movement)


def _average(
    momentum: Tensor, gradient: Tensor | None, slope: Tensor, gate: Tensor, beta: float, first: bool
) -> None:
    """Make the momentum remember; with a gate of 0 it stays."""
    new = 1.0 if first else 1.0 - beta
    momentum.mul_(1 - gate * new)
    if gradient is not None:
        momentum.addcmul_(gradient, slope * new)


def _apply(
    pool: Pool,
    rights: list[Tensor | None],
    evaluation: Evaluation,
    movement: Tensor,
    restored: Tensor | None,
) -> None:
    in_place = evaluation.in_place(pool)
    if len(in_place) < len(pool.sites):
        assert pool.moved is not None
        for segment in pool.segments:
            if (kept := _kept(segment.group)) != 1.0:
                pool.moved[segment.start : segment.stop].mul_(kept)
        pool.moved.add_(movement)
        for index in in_place:
            pool.view(pool.moved, index).zero_()
    if in_place:
        by_decay: dict[float, list[int]] = {}
        for index in in_place:
            by_decay.setdefault(_kept(pool.sites[index].group), []).append(index)
        for kept, indices in by_decay.items():
            if kept != 1.0 and restored is not None:
                add_to_weights(pool, indices, restored, rights, 1.0)
                add_to_weights(pool, indices, movement, rights, 1.0, decay=kept)
            else:
                total = movement if restored is None else movement + restored
                add_to_weights(pool, indices, total, rights, 1.0, decay=kept)


def _streamed(
    weights: Weights,
    slopes: Tensor,
    gate: Tensor,
    firsts: dict[int, bool],
    seed: int,
    step: int,
    back: float,
) -> None:
    for group in weights.groups:
        sites = [site for site in weights.streamed if site.group is group]
        if not sites:
            continue
        matrices = [site.matrix for site in sites]
        rate, beta, kept = _rate(group), group["momentum"], _kept(group)
        mean = slopes / len(slopes)
        if back and (kept != 1.0 or beta or len(slopes) > 1):
            stream(matrices, sites, back, ProbeKey(seed, step, len(slopes) - 1))
            back_with_step = 0.0
        else:
            back_with_step = back
        if kept != 1.0:
            torch._foreach_mul_(matrices, kept)
        targets = matrices
        if beta:
            targets = [weights.streamed_momentum[id(site)] for site in sites]
            for momentum in targets:
                _average(momentum, None, mean, gate.to(momentum.dtype), beta, firsts[id(group)])
        for probe, slope in enumerate(mean.unbind()):
            new = 1.0 if firsts[id(group)] else 1.0 - beta
            coefficient = slope * new if beta else slope * -rate + back_with_step
            stream(targets, sites, coefficient.float(), ProbeKey(seed, step, probe))
        if beta:
            for matrix, momentum in zip(matrices, targets, strict=True):
                _add_scaled(matrix, momentum, (gate * -rate).to(momentum.dtype))


def _add_scaled(matrix: Tensor, momentum: Tensor, coefficient: Tensor) -> None:
    """Add a multiple of a momentum as large as the weight without making a third such tensor."""
    if matrix.dtype == momentum.dtype:
        matrix.addcmul_(momentum, coefficient)
        return
    rows = max(1, PIECE // max(1, matrix.shape[1]))
    for piece, part in zip(torch.split(matrix, rows), torch.split(momentum, rows), strict=True):
        piece.add_(part * coefficient)


def _rate(group: dict[str, Any]) -> float | Tensor:
    rate: float | Tensor = group["lr"]
    if isinstance(rate, Tensor):
        # On a CPU the same steps as with a number; elsewhere nobody waits for it.
        rate = float(rate) if rate.device.type == "cpu" else rate.reshape(())
    return -rate if group["maximize"] else rate


def _kept(group: dict[str, Any]) -> float:
    return 1.0 - float(group["lr"]) * group["weight_decay"] if group["weight_decay"] else 1.0
