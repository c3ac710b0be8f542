"""Adafactor as an update host: mean squares kept as one number a row and one a column.

Source: Shazeer and Stern, Adafactor: Adaptive Learning Rates with Sublinear Memory Cost, arXiv:1804.04235,
with the floors and the step size of ``torch.optim.Adafactor``. Of the coarse gradient A ``[rows, columns]``
at step t, with w = t^beta2_decay (section 7.2: the decay of the averages grows from 0 towards 1),

    R <- (1 - w) R + w mean of A A over columns     [rows, 1]
    C <- (1 - w) C + w mean of A A over rows        [1, columns]
    V = R C / max(mean(C), eps1)                    direction A / sqrt(max(V, eps1^2))     (algorithm 4)

A coarse gradient of one row or one column keeps V itself. The update is divided by ``max(1, RMS / d)`` of the
direction (section 6) and multiplied by ``max(eps2, RMS(W)) min(lr, 1 / sqrt(t))`` (section 8).

With beta1 the direction's numerator is a running mean of A that needs no bias correction, its decay at step t
being ``beta1 (1 - beta1^(t-1)) / (1 - beta1^t)`` (section 7.1, there for the mean square).

The mean of R is that of C, which every process has whole. Where rows are spread over processes, C costs one
all-reduce of a row, and the weight's RMS one of a number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from graftwork_optim_core.common.ranges import is_number, require, require_not_negative, require_positive
from graftwork_optim_core.common.scalars import Scalar, one_minus_power
from graftwork_optim_core.subspace.host import Averages, UpdateHost
from graftwork_optim_core.subspace.site import Site, Slot
from graftwork_optim_core.subspace.transform import Direction


@dataclass(frozen=True)
class AdafactorHost(UpdateHost):
    """Adafactor in the coarse space.

    Without a transform and without weight decay its steps are those of ``torch.optim.Adafactor``, but that a
    weight of more than two dimensions is taken as ``[shape[0], everything else]``.

    Args:
        beta1: decay of a running mean of the gradients, in [0, 1); none keeps no mean and saves its memory.
        beta2_decay: the mean squares take each gradient with weight ``t ** beta2_decay``, 0 or less.
        eps1: least root of a mean square, greater than 0; none for the rounding unit of the arithmetic,
            float32 or float64. As in torch it is also the least mean of all squares, below which the factored
            ones come out too small and only ``d`` bounds the update: in float32 where the gradient's root
            mean square is below 3e-4. The paper has 1e-30.
        eps2: least root mean square of a weight to scale the step with, 0 or more.
        d: the direction's root mean square is brought down to it, 1 or more.
        relative_step: take the smaller of lr and ``1 / sqrt(t)``.
        scale_parameter: multiply by the weight's root mean square.

    Raises:
        ValueError: an option is out of its range.

    >>> {name: slot.shape for name, slot in AdafactorHost().slots((64, 16)).items()}
    {'row_var': (64, 1), 'col_var': (1, 16)}
    >>> sorted(AdafactorHost(beta1=0.9).slots((1, 16)))
    ['exp_avg', 'variance']
    """

    row_wise: ClassVar[bool] = False
    elementwise: ClassVar[bool] = False
    measures: ClassVar[bool] = True

    beta1: float | None = None
    beta2_decay: float = -0.8
    eps1: float | None = None
    eps2: float = 1e-3
    d: float = 1.0
    relative_step: bool = True
    scale_parameter: bool = True

    def __post_init__(self) -> None:
        mean = self.beta1 is None or (is_number(self.beta1) and 0 <= self.beta1 < 1)
        require(mean, "beta1", "None or in [0, 1)", self.beta1)
        decays = is_number(self.beta2_decay) and self.beta2_decay <= 0
        require(decays, "beta2_decay", "0 or less", self.beta2_decay)
        if self.eps1 is not None:
            require_positive("eps1", self.eps1)
        require_not_negative("eps2", self.eps2)
        require(is_number(self.d) and self.d >= 1, "d", "1 or more", self.d)
        # Only the running mean moves with new coordinates; without it a row's mean square comes first.
        object.__setattr__(self, "linear", () if self.beta1 is None else (0,))

    def slots(self, coarse_shape: tuple[int, int]) -> dict[str, Slot]:
        """Mean squares of rows and of columns, or of every element; the running mean before them."""
        rows, columns = coarse_shape
        mean = {} if self.beta1 is None else {"exp_avg": Slot(coarse_shape)}
        if 1 in coarse_shape:
            return {**mean, "variance": Slot(coarse_shape)}
        return {**mean, "row_var": Slot((rows, 1)), "col_var": Slot((1, columns), follows_rows=False)}

    def accumulate(
        self, averages: Averages, coarse: list[Tensor], steps: Sequence[Scalar], sites: Sequence[Site]
    ) -> None:
        """Take one coarse gradient into all averages, in place."""
        for index, (gradient, step, site) in enumerate(zip(coarse, steps, sites, strict=True)):
            if isinstance(step, Tensor):
                step = step.to(gradient.dtype)
            own = [one[index] for one in averages]
            if self.beta1 is not None:
                weight = (1 - self.beta1) / one_minus_power(self.beta1, step)
                own.pop(0).lerp_(gradient, weight)
            taken = step**self.beta2_decay
            if len(own) == 1:
                own[0].lerp_(gradient.square(), taken)
                continue
            row_var, col_var = own
            row_var.lerp_(_squared_norms(gradient, 1).div_(gradient.shape[1]), taken)
            col_var.lerp_(_mean_over_rows(_squared_norms(gradient, 0), gradient.shape[0], site), taken)

    def direction(self, averages: Averages, coarse: list[Tensor], sites: Sequence[Site]) -> list[Direction]:
        """Return the gradient, or its running mean, over the root of the factored mean squares."""
        directions = []
        for index, gradient in enumerate(coarse):
            own = [one[index] for one in averages]
            numerator = gradient if self.beta1 is None else own.pop(0)
            eps1 = torch.finfo(gradient.dtype).eps if self.eps1 is None else self.eps1
            if len(own) == 1:
                mean_square = own[0].clone()
            else:
                row_var, col_var = own
                mean_square = (row_var * col_var).div_(col_var.mean().clamp_(min=eps1))
            directions.append(Direction(numerator, mean_square.clamp_(min=eps1 * eps1).sqrt_()))
        return directions

    def divisor(self, norm: Scalar, elements: int) -> Scalar:
        """Return ``max(1, RMS / d)`` of the direction."""
        excess = norm / (math.sqrt(elements) * self.d)
        return excess.clamp(min=1.0) if isinstance(excess, Tensor) else max(1.0, excess)

    def rate(self, lr: Scalar, step: Scalar, values: Tensor, site: Site) -> Scalar:
        """Return ``max(eps2, RMS(W)) min(lr, 1 / sqrt(t))``, or what the options leave of it."""
        if self.relative_step:
            lr = step.rsqrt().clamp(max=lr) if isinstance(step, Tensor) else min(lr, 1 / math.sqrt(step))
        if not self.scale_parameter:
            return lr
        dtype = torch.promote_types(values.dtype, torch.float32)
        square = site.rows.sum(torch.linalg.vector_norm(values, dtype=dtype).square_())
        size = (square / math.prod(site.shape)).sqrt().clamp_(min=self.eps2)
        return lr * (size if isinstance(step, Tensor) else size.item())


def _squared_norms(gradient: Tensor, axis: int) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(gradient, dim=axis, keepdim=True)
    return norms.square_()


def _mean_over_rows(sums: Tensor, rows: int, site: Site) -> Tensor:
    """Divide sums over this process's rows ``[1, columns]`` by their number, both summed over all processes.

    A coarse gradient that every process has whole comes out right too: then both are counted several times.
    """
    if not site.rows.spread:
        return sums.div_(rows)
    both = site.rows.sum(torch.cat([sums, sums.new_full((1, 1), float(rows))], dim=1))
    return both[:, :-1] / both[:, -1:]
