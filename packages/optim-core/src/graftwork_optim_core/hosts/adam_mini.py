"""Adam-mini as an update host: Adam with one mean square a row, Zhang et al., arXiv:2406.16793.

Of the coarse gradient A ``[rows, columns]``,

    m <- b1 m + (1-b1) A                                  [rows, columns]
    v <- b2 v + (1-b2) mean of A A over columns           [rows, 1]

direction ``m / (sqrt(v) + eps)``, times ``sqrt(1 - b2^t) / (1 - b1^t)``; eps stands as in
:mod:`graftwork_optim_core.hosts.adamw`. A row is an output neuron of a linear layer or a token of an
embedding, as in the paper; queries and keys, which it gives one mean square a head, have finer blocks here. A
coarse gradient of one row keeps Adam's v, one an element.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from graftwork_optim_core.common.scalars import Scalar
from graftwork_optim_core.hosts.adamw import AdamWHost
from graftwork_optim_core.subspace.host import Averages
from graftwork_optim_core.subspace.site import Site, Slot
from graftwork_optim_core.subspace.transform import Direction


@dataclass(frozen=True)
class AdamMiniHost(AdamWHost):
    """Adam with one mean square a row of the coarse gradient.

    Args:
        betas: decay of the running mean and of the running mean square, each in [0, 1).
        eps: added to the root before its bias correction, greater than 0.

    Raises:
        ValueError: an option is out of its range.

    >>> {name: slot.shape for name, slot in AdamMiniHost().slots((64, 16)).items()}
    {'exp_avg': (64, 16), 'exp_avg_sq': (64, 1)}
    """

    elementwise: ClassVar[bool] = False

    def slots(self, coarse_shape: tuple[int, int]) -> dict[str, Slot]:
        """One of the coarse shape and one number a row; two of the coarse shape if it is one row."""
        rows = coarse_shape[0]
        mean_square = coarse_shape if rows == 1 else (rows, 1)
        return {"exp_avg": Slot(coarse_shape), "exp_avg_sq": Slot(mean_square)}

    def accumulate(
        self, averages: Averages, coarse: list[Tensor], steps: Sequence[Scalar], sites: Sequence[Site]
    ) -> None:
        """Take one coarse gradient into both averages, in place."""
        mean, mean_square = averages
        beta1, beta2 = self.betas
        torch._foreach_lerp_(mean, coarse, weight=1 - beta1)
        squares = [
            gradient.square() if own.shape == gradient.shape else _mean_square_of_rows(gradient)
            for gradient, own in zip(coarse, mean_square, strict=True)
        ]
        torch._foreach_mul_(mean_square, beta2)
        torch._foreach_add_(mean_square, squares, alpha=1 - beta2)

    def direction(self, averages: Averages, coarse: list[Tensor], sites: Sequence[Site]) -> list[Direction]:
        """Return ``m`` over ``sqrt(v) + eps``, the same along a row."""
        mean, mean_square = averages
        root = torch._foreach_sqrt(mean_square)
        torch._foreach_add_(root, self.eps)
        return [Direction(m, d.expand_as(m).contiguous()) for m, d in zip(mean, root, strict=True)]


def _mean_square_of_rows(gradient: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
    return norms.square_().div_(gradient.shape[1])
