"""Adam in the Haar basis, a weight at a time in one pass over its memory.

The kernels stand in :mod:`graftwork_optim_core.kernels`; here is decided which weights they take, and the few
scalars around them are computed: on a CPU as numbers, elsewhere as tensors that are never read.

On CUDA a kernel moves the weight as if its direction's norm had not grown too fast and measures the norm on
the way; a second one, which seldom has anything to do, takes back what was too much. Where the norms come
from a sum over processes they are known before, and the first kernel does it all. On a CPU, where some pass
must find out first whether the gradient is finite, that pass measures the norm as well.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from graftwork_optim_core.common.scalars import Scalar
from graftwork_optim_core.subspace.batch import Weight, WeightBatch
from graftwork_optim_core.subspace.plan import Plan
from graftwork_optim_core.subspace.transform import HaarBlocks


def haar_of(plan: Plan) -> HaarBlocks | None:
    """Return level and guard where a plan is Adam in the Haar basis, level 0 being Adam itself; else None."""
    return plan.transform.as_haar if plan.host.as_adam is not None else None


def takes(parameter: Tensor, options: Mapping[str, Any], plan: Plan, on_host: bool) -> bool:
    """Whether a kernel makes a weight's step: where one can and nobody asked for anything else.

    Args:
        parameter: the weight, whole in this process or spread.
        options: of its group; ``fused=False``, or a choice of ``foreach``, keeps the kernels away.
        plan: of the weight.
        on_host: whether its scalars are numbers.
    """
    if options["fused"] is False or (options["fused"] is None and options["foreach"] is not None):
        return False
    if haar_of(plan) is None or not parameter.is_floating_point():
        return False
    if on_host:
        one_dtype = options["state_dtype"] in ("param", str(parameter.dtype).removeprefix("torch."))
        kept = parameter.dtype in (torch.float32, torch.float64) and one_dtype
        return kept and has_numba()
    return parameter.is_cuda and has_triton()


@cache
def has_numba() -> bool:
    """Whether numba is installed, an extra of this package."""
    return importlib.util.find_spec("numba") is not None


@cache
def has_triton() -> bool:
    """Whether triton is installed, which comes with torch on Linux."""
    return importlib.util.find_spec("triton") is not None


def step_fused(batch: WeightBatch, totals: Sequence[Tensor] | None) -> Scalar:
    """Make one step of every weight of a batch.

    Args:
        batch: weights that :func:`takes` takes.
        totals: squared norms summed over processes, a weight each, where weights are sharded; NaN where a
            gradient is not finite.

    Returns:
        How many weights were skipped because a gradient was not finite.
    """
    skipped = _step_on_host(batch) if batch.reads_scalars else _step_on_device(batch, totals)
    for weight in batch.weights:
        weight.write_back()
    return skipped


def _step_on_host(batch: WeightBatch) -> Scalar:
    from graftwork_optim_core.kernels.haar_adamw_numba import Numbers, haar_adamw_steps

    haar, host, options = haar_of(batch.plan), batch.plan.host, batch.options
    adam = host.as_adam
    assert haar is not None
    assert adam is not None
    lr, limited = float(options["lr"]), batch.plan.limited
    rate, kept = lr * batch.plan.scale, 1 - lr * options["weight_decay"]
    counters = [weight.state["step"] for weight in batch.weights]
    steps = torch.stack(counters).add_(1).tolist()
    previous = [float(weight.state["previous_norm"]) if limited else 0.0 for weight in batch.weights]
    corrections = {step: host.correction(step) for step in set(steps)}
    numbers = [
        Numbers(float(corrections[step].mean), float(corrections[step].root), rate, kept, norm)
        for step, norm in zip(steps, previous, strict=True)
    ]
    steps_made = haar_adamw_steps(
        [(weight.values, _by_rows(weight.gradient), *weight.averages) for weight in batch.weights],
        numbers,
        level=haar.level,
        guard=haar.guard,
        betas=adam.betas,
        eps=adam.eps,
        maximize=bool(options["maximize"]),
        norm_growth_limit=batch.plan.norm_growth_limit,
    )
    moved = [made.moved for made in steps_made]
    if any(moved):
        torch._foreach_add_([one for one, moves in zip(counters, moved, strict=True) if moves], 1)
    if limited:
        for weight, made in zip(batch.weights, steps_made, strict=True):
            weight.state["previous_norm"].fill_(made.norm)
    return float(moved.count(False))


def _step_on_device(batch: WeightBatch, totals: Sequence[Tensor] | None) -> Scalar:
    from graftwork_optim_core.kernels.haar_adamw import (
        finite_extent,
        haar_adamw_correct,
        haar_adamw_step,
    )

    haar, host, options, plan = haar_of(batch.plan), batch.plan.host, batch.options, batch.plan
    adam = host.as_adam
    assert haar is not None
    assert adam is not None
    weights, dtype = batch.weights, batch.arithmetic
    pairs = (weight.averages for weight in weights)
    matrices = [
        (weight.values, _by_rows(weight.gradient), mean, mean_square)
        for weight, (mean, mean_square) in zip(weights, pairs, strict=True)
    ]
    extents = totals or [finite_extent(gradient, haar.level) for _, gradient, _, _ in matrices]
    gate = torch.isfinite(torch.stack([extent.double() for extent in extents]))
    counters = [weight.state["step"] for weight in weights]
    torch._foreach_add_(counters, list(gate.float().unbind()))
    correction = host.correction(torch.stack(counters).to(dtype))
    lr = options["lr"].reshape(()) if isinstance(options["lr"], Tensor) else options["lr"]
    one = torch.ones(len(weights), dtype=dtype, device=gate.device)
    rate, kept = one * (lr * plan.scale), one * (1 - lr * options["weight_decay"])
    if totals is not None and plan.limited:
        rate = rate / _divisors(batch, torch.stack(list(totals)).sqrt(), gate)
    columns = (correction.mean * one, correction.root * one, rate, kept, gate.to(dtype))
    factors = list(torch.stack([torch.as_tensor(column) for column in columns], dim=1).unbind())
    rule: dict[str, Any] = {"level": haar.level, "guard": haar.guard, "eps": adam.eps}
    rule["maximize"] = bool(options["maximize"])
    beta1, beta2 = adam.betas
    squares = [
        haar_adamw_step(*own, numbers, beta1=beta1, beta2=beta2, **rule)
        for own, numbers in zip(matrices, factors, strict=True)
    ]
    if totals is None and plan.limited:
        excesses = (1 - 1 / _divisors(batch, torch.stack(squares).sqrt(), gate)).to(dtype).unbind()
        for own, numbers, excess in zip(matrices, factors, excesses, strict=True):
            haar_adamw_correct(*own, numbers, excess, **rule)
    return gate.logical_not().sum()


def _divisors(batch: WeightBatch, norms: Tensor, gate: Tensor) -> Tensor:
    # A skipped weight's norm may be NaN, and NaN times a shut gate is not 0.
    return torch.where(gate, batch.limited(norms, gate), 1.0)


def _by_rows(matrix: Tensor) -> Tensor:
    """Return a matrix whose rows are contiguous, itself where they are already."""
    return matrix if matrix.shape[1] <= 1 or matrix.stride(1) == 1 else matrix.contiguous()


def usable_rows(weight: Weight) -> bool:
    """Whether a weight's own matrices have contiguous rows, as the kernels write into them."""
    matrices = (weight.values, *weight.averages)
    return all(matrix.shape[1] <= 1 or matrix.stride(1) == 1 for matrix in matrices)
