"""Adam's two averages as an update host, Kingma and Ba, arXiv:1412.6980.

``m <- b1 m + (1-b1) A``, ``v <- b2 v + (1-b2) A A``, direction ``m / (sqrt(v) + eps)``, times
``sqrt(1 - b2^t) / (1 - b1^t)``. eps is added to the uncorrected root, as in the published GWT and GaLore
and unlike ``torch.optim.AdamW``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from graftwork_optim_core.common.ranges import require_betas, require_positive
from graftwork_optim_core.common.scalars import Scalar, one_minus_power, square_root
from graftwork_optim_core.subspace.host import AdamNumbers, Averages, UpdateHost
from graftwork_optim_core.subspace.site import Site, Slot
from graftwork_optim_core.subspace.transform import BiasCorrection, Direction


@dataclass(frozen=True)
class AdamWHost(UpdateHost):
    """Adam in the coarse space.

    Args:
        betas: decay of the running mean and of the running mean square, each in [0, 1).
        eps: added to the root before its bias correction, greater than 0.

    Raises:
        ValueError: an option is out of its range.

    >>> sorted(AdamWHost().slots((4, 8)))
    ['exp_avg', 'exp_avg_sq']
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-6

    def __post_init__(self) -> None:
        require_betas(self.betas)
        require_positive("eps", self.eps)

    @property
    def as_adam(self) -> AdamNumbers | None:
        """Both betas and eps; None for a subclass, which may do something else with them."""
        return AdamNumbers(self.betas, self.eps) if type(self) is AdamWHost else None

    def slots(self, coarse_shape: tuple[int, int]) -> dict[str, Slot]:
        """Two of the coarse shape."""
        return {"exp_avg": Slot(coarse_shape), "exp_avg_sq": Slot(coarse_shape)}

    def accumulate(
        self, averages: Averages, coarse: list[Tensor], steps: Sequence[Scalar], sites: Sequence[Site]
    ) -> None:
        """Take one coarse gradient into both averages, in place."""
        mean, mean_square = averages
        beta1, beta2 = self.betas
        torch._foreach_lerp_(mean, coarse, weight=1 - beta1)
        torch._foreach_mul_(mean_square, beta2)
        torch._foreach_addcmul_(mean_square, coarse, coarse, value=1 - beta2)

    def direction(self, averages: Averages, coarse: list[Tensor], sites: Sequence[Site]) -> list[Direction]:
        """Return ``m`` over ``sqrt(v) + eps``."""
        mean, mean_square = averages
        root = torch._foreach_sqrt(mean_square)
        torch._foreach_add_(root, self.eps)
        return [Direction(m, d) for m, d in zip(mean, root, strict=True)]

    def correction(self, step: Scalar) -> BiasCorrection:
        """Return Adam's two bias corrections.

        >>> round(AdamWHost().correction(1.0).mean, 6)
        10.0
        """
        mean, root = (one_minus_power(beta, step) for beta in self.betas)
        return BiasCorrection(1 / mean, square_root(root))
