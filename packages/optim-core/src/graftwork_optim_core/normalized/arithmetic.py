"""What is done to the values of one parameter in a step, with scalars that are numbers or tensors.

Where they are numbers the step is known to be made. Where they are tensors nobody has looked yet whether the
gradient is finite: ``finite`` then says so on the device, and without it everything keeps its bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from graftwork_optim_core.common.scalars import Scalar

_NARROW = (torch.float16, torch.bfloat16)


def average(
    momentum: Tensor, gradient: Tensor, weight: Scalar, factor: Scalar | None, finite: Tensor | None
) -> None:
    """Write ``m + weight (factor g - m)`` into m.

    Args:
        momentum: m.
        gradient: g, in any floating-point dtype; computed is in the wider of the two.
        weight: in (0, 1]; of 1 nothing is left of m.
        factor: what clipping leaves of g; None for all.
        finite: whether to write at all; None for yes.

    >>> m = torch.tensor([2.0, 4.0])
    >>> average(m, torch.tensor([4.0, 0.0]), 0.25, 0.5, None)
    >>> m
    tensor([2., 3.])
    """
    wide = torch.promote_types(momentum.dtype, gradient.dtype)
    plain = wide == momentum.dtype == gradient.dtype and wide not in _NARROW
    if plain and isinstance(factor, float) and isinstance(weight, float):
        # Without a temporary of the gradient's size, in which most of the time would go.
        momentum.mul_(1 - weight).add_(gradient, alpha=weight * factor)
        return
    taken = gradient.to(wide)
    if factor is not None:
        taken = taken * _as(factor, wide)
    if finite is not None:
        taken = torch.where(finite, taken, momentum.to(wide))
    if wide == momentum.dtype and (not isinstance(weight, Tensor) or weight.dtype == wide):
        momentum.lerp_(taken, weight)
        return
    if isinstance(weight, Tensor):
        wide = torch.promote_types(wide, weight.dtype)
    momentum.copy_(torch.lerp(momentum.to(wide), taken.to(wide), weight))


def recur(
    momentum: Tensor,
    gradient: Tensor,
    former: Tensor,
    weight: Scalar,
    factors: tuple[Scalar | None, Scalar | None],
    finite: Tensor | None,
) -> None:
    """Write ``g + (1 - weight) (m - g')`` into m.

    Args:
        momentum: m.
        gradient: g, at the present point.
        former: g', of the same sample at the previous point.
        weight: in (0, 1]; of 1 nothing is left of m and g'.
        factors: what clipping leaves of g and of g'; None for all.
        finite: whether to write at all; None for yes.

    >>> m = torch.tensor([2.0, 4.0])
    >>> recur(m, torch.tensor([1.0, 1.0]), torch.tensor([0.0, 2.0]), 0.5, (None, None), None)
    >>> m
    tensor([2., 2.])
    """
    wide = torch.promote_types(momentum.dtype, gradient.dtype)
    if isinstance(weight, Tensor):
        wide = torch.promote_types(wide, weight.dtype)
    present, past = (
        tensor.to(wide) if factor is None else tensor.to(wide) * _as(factor, wide)
        for tensor, factor in zip((gradient, former), factors, strict=True)
    )
    kept = 1 - weight
    if finite is None and wide == momentum.dtype:
        momentum.sub_(past).mul_(kept).add_(present)
        return
    new = (momentum.to(wide) - past) * kept + present
    if finite is not None:
        new = torch.where(finite, new, momentum.to(wide))
    momentum.copy_(new)


def move(values: Tensor, direction: Tensor, length: Scalar) -> None:
    """Write ``values - length * direction`` into the values.

    Args:
        values: of a parameter.
        direction: of any floating-point dtype.
        length: a tensor is of the arithmetic's dtype, float32 at least.
    """
    if isinstance(length, Tensor) or direction.dtype in _NARROW:
        # In the precision of a narrow direction the length itself would be rounded.
        wide = length.dtype if isinstance(length, Tensor) else torch.float32
        values.sub_(direction.to(torch.promote_types(direction.dtype, wide)) * length)
    else:
        values.add_(direction, alpha=-length)


def move_all(
    values: Sequence[Tensor], directions: Sequence[Tensor], lengths: Sequence[Scalar], foreach: bool
) -> None:
    """Move several, with ``foreach`` those of one length and dtype in one call."""
    if not foreach:
        for one, direction, length in zip(values, directions, lengths, strict=True):
            move(one, direction, length)
        return
    alike: dict[object, list[int]] = {}
    for number, (one, direction, length) in enumerate(zip(values, directions, lengths, strict=True)):
        same_length = id(length) if isinstance(length, Tensor) else length
        alike.setdefault((same_length, one.device, one.dtype, direction.dtype), []).append(number)
    for numbers in alike.values():
        to, along = [values[n] for n in numbers], [directions[n] for n in numbers]
        length = lengths[numbers[0]]
        if isinstance(length, Tensor):
            wide = torch.promote_types(along[0].dtype, length.dtype)
            scaled = torch._foreach_mul([direction.to(wide) for direction in along], length)
            torch._foreach_sub_(to, scaled)
        elif to[0].dtype == along[0].dtype and to[0].dtype not in _NARROW:
            torch._foreach_add_(to, along, alpha=-length)
        else:
            for one, direction in zip(to, along, strict=True):
                move(one, direction, length)


def _as(factor: Scalar, dtype: torch.dtype) -> Scalar:
    return factor.to(dtype) if isinstance(factor, Tensor) else factor
