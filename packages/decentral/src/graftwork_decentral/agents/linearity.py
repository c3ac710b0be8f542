"""Whether an optimizer's moves are linear in the gradients.

Exact diffusion and EXTRA correct a difference between agents by what they moved. That is exact where all
agents' moves are the same linear function of their gradients, as with SGD and momentum. An optimizer that
scales each weight by its own agent's gradients (Adam), normalizes, or projects on a basis that it finds in
them moves agents differently, and the correction then corrects nothing (derived here; measured with Adam).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

_STEPS = 3
_TOLERANCE = 1e-3
_SCALE = 0.37
"""Not a power of two, and of ordinary size: neither rounding nor an epsilon may hide what there is."""


def moves_linearly(optimizer: torch.optim.Optimizer) -> bool:
    """Try it on copies: do the moves of ``g``, ``h`` and ``g + 0.37 h`` add up, over three steps?

    An optimizer with a closure cannot be tried and counts as not linear. So does one whose probe fails.

    Args:
        optimizer: not stepped, and not changed.

    >>> parameter = torch.nn.Parameter(torch.zeros(4, 4))
    >>> moves_linearly(torch.optim.SGD([parameter], lr=0.1, momentum=0.9))
    True
    >>> moves_linearly(torch.optim.Adam([parameter]))
    False
    """
    if type(optimizer) is torch.optim.SGD:
        return True
    if getattr(optimizer, "closure", None) is not None:
        return False
    generator = torch.Generator().manual_seed(0)
    gradients = [[_drawn(p, generator) for p in parameters_of(optimizer)] for _ in range(2 * _STEPS)]
    first, second = gradients[:_STEPS], gradients[_STEPS:]
    still = [[torch.zeros_like(g) for g in one] for one in first]
    both = [
        [g + _SCALE * h for g, h in zip(one, other, strict=True)]
        for one, other in zip(first, second, strict=True)
    ]
    try:
        # Weight decay moves by the weights: what is left without gradients is taken off.
        by_nothing = _moves(optimizer, still)
        by_first, by_second, by_both = (_moves(optimizer, one) for one in (first, second, both))
    except Exception:
        return False
    for nothing, g, h, sum_of in zip(by_nothing, by_first, by_second, by_both, strict=True):
        expected = (g - nothing) + _SCALE * (h - nothing)
        size = expected.norm() + (sum_of - nothing).norm()
        # So put, what is not a number is not linear.
        if not float((sum_of - nothing - expected).norm()) <= _TOLERANCE * float(size):
            return False
    return True


def parameters_of(optimizer: torch.optim.Optimizer) -> list[Any]:
    """Return what an optimizer trains, group by group."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _drawn(parameter: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(parameter.shape, generator=generator).to(parameter)


def _moves(optimizer: torch.optim.Optimizer, gradients: list[list[Tensor]]) -> list[Tensor]:
    twin = copy.deepcopy(optimizer)
    start = [parameter.detach().clone() for parameter in parameters_of(twin)]
    for of_step in gradients:
        for parameter, gradient in zip(parameters_of(twin), of_step, strict=True):
            parameter.grad = gradient.clone()
        twin.step()
    return [
        (parameter.detach() - before).double()
        for parameter, before in zip(parameters_of(twin), start, strict=True)
    ]
