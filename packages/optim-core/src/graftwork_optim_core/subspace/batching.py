"""Which parameters are worked on together, and the sums over processes that their steps wait for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graftwork_optim_core.common.parameters import matrix_shape, named_parameters
from graftwork_optim_core.common.sharding import Rows, local_part, sharding_groups, sum_over_groups
from graftwork_optim_core.subspace.batch import Mode, Weight, WeightBatch, WeightKind
from graftwork_optim_core.subspace.fused import takes, usable_rows
from graftwork_optim_core.subspace.plan import GroupPlans, Plan
from graftwork_optim_core.subspace.site import Site
from graftwork_optim_core.subspace.stacked import LARGEST
from graftwork_optim_core.subspace.state import reads_scalars
from graftwork_optim_core.subspace.step import local_squares


@dataclass(frozen=True, slots=True, eq=False)
class PlannedParameter:
    """One parameter of an optimizer, with or without a gradient.

    Args:
        name: or its position where it has none.
        parameter: itself.
        index: its position among all parameters of the optimizer.
        options: of its group.
        plan: how it is updated.
    """

    name: str
    parameter: Tensor
    index: int
    options: dict[str, Any]
    plan: Plan


def planned_parameters(groups: Sequence[dict[str, Any]]) -> Iterator[PlannedParameter]:
    """Yield all parameters of an optimizer's groups."""
    first = 0
    for number, group in enumerate(groups):
        plans = GroupPlans.of(group)
        for position, (name, parameter) in enumerate(named_parameters(group, number)):
            yield PlannedParameter(name, parameter, first + position, group, plans.plan_of(parameter))
        first += len(group["params"])


def batches_of(
    chosen: Sequence[PlannedParameter], state: Mapping[Tensor, dict[str, Any]]
) -> Iterator[WeightBatch]:
    """Yield batches of the parameters that have a gradient.

    Args:
        chosen: parameters whose gradients are dense.
        state: of an optimizer, made for all of them.
    """
    alike: dict[object, WeightBatch] = {}
    kinds: dict[object, WeightKind] = {}
    for planned in chosen:
        parameter, options, plan = planned.parameter, planned.options, planned.plan
        gradient = parameter.grad
        if gradient is None or parameter.numel() == 0:
            continue
        # A plan lives as long as its planned parameter, so that no other has its identity.
        alike_in = (id(plan), parameter.shape)
        if alike_in not in kinds:
            kinds[alike_in] = WeightKind.of(parameter, plan)
        weight = Weight.of(parameter, gradient, state[parameter], planned.index, kinds[alike_in])
        on_host = reads_scalars(parameter, options)
        mode = _mode_of(weight, options, plan, on_host)
        if mode == "alone":
            yield WeightBatch([weight], options, plan, on_host, mode)
            continue
        sums = tuple(map(id, sharding_groups(parameter)))
        # Weights of one rule may keep other slots, or of another width: only alike ones make one batch.
        slots = tuple(average.shape[1] for average in weight.averages)
        layout = (weight.values.shape[1], slots) if mode == "stacked" else (mode, len(slots))
        # The plan is made once a group, and again for its plain parameters.
        key = (weight.values.device, parameter.dtype, id(plan), sums, layout)
        if key in alike:
            alike[key].weights.append(weight)
        else:
            alike[key] = WeightBatch([weight], options, plan, on_host, mode)
    yield from alike.values()


def _mode_of(weight: Weight, options: Mapping[str, Any], plan: Plan, on_host: bool) -> Mode:
    """Choose how a weight is taken, by itself or with others."""
    parameter, foreach = weight.parameter, options["foreach"]
    spread = bool(sharding_groups(parameter))
    if options["stochastic_rounding"] and parameter.dtype == torch.bfloat16:
        return "together" if plan.row_wise and not on_host else "alone"
    # On a CPU a kernel does all of a weight's step at once, the limiter too, and could not wait for a sum.
    if takes(parameter, options, plan, on_host) and usable_rows(weight) and not (on_host and spread):
        return "fused"
    small = parameter.numel() <= LARGEST and foreach is not False and not spread
    if on_host and small and plan.stackable:
        return "stacked"
    together = plan.row_wise and (not on_host if foreach is None else bool(foreach))
    return "together" if together else "alone"


def sum_over_shards(
    batches: Sequence[WeightBatch], chosen: Sequence[PlannedParameter]
) -> dict[Tensor, Tensor]:
    """Return every sharded parameter's squared norm of its direction, NaN where it must be skipped.

    One all-reduce for all parameters that are spread over the same processes.

    Args:
        batches: to be stepped.
        chosen: the parameters of the step, those without a gradient too.
    """
    sharded: dict[tuple[Any, ...], list[Tensor]] = {}
    for planned in chosen:
        groups = sharding_groups(planned.parameter)
        if groups and planned.plan.transform.keeps_rows(matrix_shape(planned.parameter)):
            sharded.setdefault(groups, []).append(planned.parameter)
    totals: dict[Tensor, Tensor] = {}
    if not sharded:
        return totals
    local: dict[Tensor, Tensor] = {}
    for batch in batches:
        if batch.awaits_sums:
            squares = local_squares(batch)
            local.update(zip((weight.parameter for weight in batch.weights), squares, strict=True))
    for groups, parameters in sharded.items():
        # A number for every parameter, with a gradient here or not: the processes' sums must line up.
        zero = torch.zeros((), dtype=torch.float64, device=local_part(parameters[0]).device)
        sums = sum_over_groups([local.get(parameter, zero) for parameter in parameters], groups)
        totals.update(zip(parameters, sums, strict=True))
    return totals


def refresh_due(chosen: Sequence[PlannedParameter], state: Mapping[Tensor, dict[str, Any]]) -> bool:
    """Whether the next step takes new coordinates for a weight from its gradient.

    Args:
        chosen: the parameters of the step.
        state: of the optimizer.
    """
    asked: list[tuple[bool, bool]] = []
    for planned in chosen:
        transform, own = planned.plan.transform, state.get(planned.parameter)
        if own and not transform.row_wise:
            shape = matrix_shape(planned.parameter)
            slots = {key: local_part(own[key]) for key in transform.slots(shape)}
            site = Site(shape, Rows(planned.parameter), planned.index, slots)
            asked.append((transform.is_due(site), transform.has_begun(site)))
    # A weight that was left out of the steps so far is not waited for.
    started = any(begun for _, begun in asked)
    return any(due and (begun or not started) for due, begun in asked)
