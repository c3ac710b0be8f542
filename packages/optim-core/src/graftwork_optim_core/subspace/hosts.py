"""Update hosts: the rule that keeps running averages of the coarse gradient and says where to go.

A host sees lists of tensors, one entry a weight (or a run of a weight's rows), so that one call serves a
single weight as well as a batch. What it is given to accumulate into is a working copy in the arithmetic's
dtype wherever the state itself must not be touched yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from graftwork_optim_core.subspace.scalars import Scalar, one_minus_power, square_root
from graftwork_optim_core.subspace.transform import BiasCorrection, Direction

Averages = Sequence[list[Tensor]]
"""One list of tensors for each of a host's averages, in the order of their names."""


class UpdateHost(Protocol):
    """What an optimizer asks of the rule that it hosts."""

    average_names: tuple[str, ...]
    """Keys in the state; each is a tensor of the coarse shape that starts at zero."""

    def accumulate(self, averages: Averages, coarse: list[Tensor], options: Mapping[str, Any]) -> None:
        """Take one coarse gradient into the averages, in place."""
        ...

    def direction(self, averages: Averages, options: Mapping[str, Any]) -> list[Direction]:
        """Return the direction that the averages give; the denominators are fresh tensors."""
        ...

    def correction(self, step: Scalar, options: Mapping[str, Any]) -> BiasCorrection:
        """Return the bias correction at a weight's step, 1 being the first."""
        ...


class AdamWHost:
    """Adam's two averages: ``m <- b1 m + (1-b1) A``, ``v <- b2 v + (1-b2) A A``, direction ``m / (sqrt(v) +
    eps)``.

    eps is added to the uncorrected root, as in the published GWT and unlike ``torch.optim.AdamW``.
    """

    average_names: tuple[str, ...] = ("exp_avg", "exp_avg_sq")

    def accumulate(self, averages: Averages, coarse: list[Tensor], options: Mapping[str, Any]) -> None:
        """Take one coarse gradient into both averages, in place."""
        mean, mean_square = averages
        beta1, beta2 = options["betas"]
        torch._foreach_lerp_(mean, coarse, weight=1 - beta1)
        torch._foreach_mul_(mean_square, beta2)
        torch._foreach_addcmul_(mean_square, coarse, coarse, value=1 - beta2)

    def direction(self, averages: Averages, options: Mapping[str, Any]) -> list[Direction]:
        """Return ``m`` over ``sqrt(v) + eps``."""
        mean, mean_square = averages
        root = torch._foreach_sqrt(mean_square)
        torch._foreach_add_(root, options["eps"])
        return [Direction(m, d) for m, d in zip(mean, root, strict=True)]

    def correction(self, step: Scalar, options: Mapping[str, Any]) -> BiasCorrection:
        """Return Adam's two bias corrections."""
        beta1, beta2 = options["betas"]
        return BiasCorrection(
            mean=1 / one_minus_power(beta1, step), root=square_root(one_minus_power(beta2, step))
        )
