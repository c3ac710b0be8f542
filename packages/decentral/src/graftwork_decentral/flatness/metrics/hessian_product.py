"""Products of a Hessian and a vector, by whichever derivative the model's operators have.

Tried in order, the first that works is kept: forward over reverse (the least memory), reverse over reverse
(for operators without a forward derivative), and reverse over reverse with attention taken apart, for fused
attention has neither a forward derivative nor a second backward.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from graftwork_decentral.flatness.metrics.flat import Objective

HessianMode = Literal["forward-over-reverse", "reverse-over-reverse", "unfused-attention"]

HESSIAN_MODES: tuple[HessianMode, ...] = get_args(HessianMode)
"""In the order in which they are tried."""


class HessianProduct:
    """The map from v to Hv at one point.

    Args:
        objective: whose Hessian.
        point: ``[parameters]``.
        mode: one of ``HESSIAN_MODES``; None for the first that works, found at the first product.

    Raises:
        ValueError: the point is no vector or the mode is none.
        RuntimeError: none of the modes works, or the chosen one does not.

    >>> product = HessianProduct(lambda w: w[0] ** 2 * w[1], torch.tensor([1.0, 2.0]))
    >>> product(torch.tensor([1.0, 0.0])), product.mode
    (tensor([4., 2.]), 'forward-over-reverse')
    """

    def __init__(self, objective: Objective, point: Tensor, *, mode: HessianMode | None = None) -> None:
        if point.ndim != 1:
            raise ValueError(f"point must be [parameters], got {list(point.shape)}")
        if mode is not None and mode not in HESSIAN_MODES:
            raise ValueError(f"mode must be None or one of {', '.join(HESSIAN_MODES)}, got {mode!r}")
        self._objective = objective
        self._point = point.detach().clone()
        self.mode: HessianMode | None = mode
        self._graph: tuple[Tensor, Tensor] | None = None

    def __call__(self, vector: Tensor) -> Tensor:
        """Return Hv ``[parameters]``."""
        if self.mode is not None:
            return self._of(self.mode)(vector)
        for mode in HESSIAN_MODES:
            try:
                product = self._of(mode)(vector)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:  # of which "not implemented" is one
                self._graph = None
                if mode == HESSIAN_MODES[-1]:
                    raise
            else:
                self.mode = mode
                return product
        raise AssertionError("unreachable")

    def _of(self, mode: HessianMode) -> Callable[[Tensor], Tensor]:
        return self._forward_over_reverse if mode == "forward-over-reverse" else self._reverse_of(mode)

    def _forward_over_reverse(self, vector: Tensor) -> Tensor:
        slope = torch.func.grad(self._objective)
        product: Tensor = torch.func.jvp(slope, (self._point,), (vector.to(self._point),))[1]
        return product.detach()

    def _reverse_of(self, mode: HessianMode) -> Callable[[Tensor], Tensor]:
        def product(vector: Tensor) -> Tensor:
            context = sdpa_kernel(SDPBackend.MATH) if mode == "unfused-attention" else nullcontext()
            with context, torch.enable_grad():
                if self._graph is None:
                    point = self._point.clone().requires_grad_()
                    (slope,) = torch.autograd.grad(self._objective(point), point, create_graph=True)
                    self._graph = point, slope
                point, slope = self._graph
                if not slope.requires_grad:
                    return torch.zeros_like(point)
                (found,) = torch.autograd.grad(
                    slope, point, vector.to(slope), retain_graph=True, materialize_grads=True
                )
            return found.detach()

        return product
