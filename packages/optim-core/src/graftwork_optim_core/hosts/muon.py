"""Muon's momentum as an update host, orthogonalized at the size of the weight or of the coarse gradient.

Source: Jordan et al., Muon (2024), https://kellerjordan.github.io/posts/muon, in the form of
``torch.optim.Muon``, whose buffer is a running mean. Of the coarse gradient A,

    M <- momentum M + (1 - momentum) A,
    X = (1 - momentum) A + momentum M with Nesterov's momentum, otherwise M.

"full": the transform makes X and what A left out of the gradient into an update of the weight's size, which
becomes its nearly orthogonal factor ``U V^T``. "coarse": X becomes its own, and what A left out is left out.
The smaller matrix costs less, and less is sent where rows are spread over processes. Where a transform
leaves nothing for the update but its orthonormal coordinates, the two agree: the factor of ``P X`` is P times
that of X. arXiv:2501.07237 names the pair of GWT and Muon without defining it; neither reading is published.

The rate is multiplied by a factor of the weight's shape, see
:func:`~graftwork_optim_core.numerics.orthogonalization.shape_adjustment`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from graftwork_optim_core.common.ranges import (
    is_number,
    require,
    require_decay,
    require_one_of,
    require_positive,
    require_whole,
)
from graftwork_optim_core.common.scalars import Scalar
from graftwork_optim_core.numerics.orthogonalization import (
    COEFFICIENTS,
    EPS,
    newton_schulz,
    shape_adjustment,
)
from graftwork_optim_core.subspace.host import Averages, UpdateHost
from graftwork_optim_core.subspace.site import Site, Slot
from graftwork_optim_core.subspace.transform import Direction

_MOST_STEPS = 99


@dataclass(frozen=True)
class MuonHost(UpdateHost):
    """Muon in the coarse space.

    Without a transform and without weight decay its steps are those of ``torch.optim.Muon``, which takes no
    vectors. Here a vector is a matrix of one row, whose momentum is made about as long as 1; ``plain_host``
    names another rule for them.

    Args:
        momentum: decay of the running mean, in [0, 1).
        nesterov: look one gradient ahead.
        ns_coefficients: of the Newton-Schulz iteration, three numbers.
        ns_eps: least norm to divide by before it, greater than 0; torch's ``eps``.
        ns_steps: of the iteration, 0 to 99.
        newton_schulz_dtype: in which it is computed, "bfloat16" as published or "float32".
        adjust_lr_fn: factor of the rate: "original" is ``sqrt(max(1, rows / columns))``, "match_rms_adamw"
            ``0.2 sqrt(max(rows, columns))``.
        orthogonalize: the update at "full" size, or the "coarse" momentum alone.

    Raises:
        ValueError: an option is out of its range.

    >>> sorted(MuonHost().slots((4, 8)))
    ['momentum_buffer']
    """

    row_wise: ClassVar[bool] = False
    elementwise: ClassVar[bool] = False
    matrices_only: ClassVar[bool] = True

    momentum: float = 0.95
    nesterov: bool = True
    ns_coefficients: tuple[float, float, float] = COEFFICIENTS
    ns_eps: float = EPS
    ns_steps: int = 5
    newton_schulz_dtype: Literal["bfloat16", "float32"] = "bfloat16"
    adjust_lr_fn: Literal["original", "match_rms_adamw"] = "original"
    orthogonalize: Literal["full", "coarse"] = "full"

    def __post_init__(self) -> None:
        require_decay("momentum", self.momentum)
        three = len(self.ns_coefficients) == 3 and all(map(is_number, self.ns_coefficients))
        require(three, "ns_coefficients", "three numbers", self.ns_coefficients)
        require_positive("ns_eps", self.ns_eps)
        require_whole("ns_steps", self.ns_steps, 0, _MOST_STEPS)
        require_one_of("newton_schulz_dtype", self.newton_schulz_dtype, ("bfloat16", "float32"))
        require_one_of("adjust_lr_fn", self.adjust_lr_fn, ("original", "match_rms_adamw"))
        require_one_of("orthogonalize", self.orthogonalize, ("full", "coarse"))

    def slots(self, coarse_shape: tuple[int, int]) -> dict[str, Slot]:
        """One of the coarse shape."""
        return {"momentum_buffer": Slot(coarse_shape)}

    def accumulate(
        self, averages: Averages, coarse: list[Tensor], steps: Sequence[Scalar], sites: Sequence[Site]
    ) -> None:
        """Take one coarse gradient into the buffer, in place."""
        (buffers,) = averages
        torch._foreach_lerp_(buffers, coarse, weight=1 - self.momentum)

    def direction(self, averages: Averages, coarse: list[Tensor], sites: Sequence[Site]) -> list[Direction]:
        """Return the buffer or what Nesterov makes of it, orthogonalized already if that is coarse."""
        (buffers,) = averages
        ahead = torch._foreach_lerp(coarse, buffers, weight=self.momentum) if self.nesterov else buffers
        if self.orthogonalize == "full":
            return [Direction(one, None) for one in ahead]
        return [
            Direction(self._orthogonalized(one, site, whole=site.mixes_rows), None, details=False)
            for one, site in zip(ahead, sites, strict=True)
        ]

    def rate(self, lr: Scalar, step: Scalar, values: Tensor, site: Site) -> Scalar:
        """Return ``lr`` times the factor of the weight's shape."""
        return lr * shape_adjustment(self.adjust_lr_fn, site.shape)

    def finish(self, update: Tensor, site: Site) -> Tensor:
        """Return the update orthogonalized, if that is not done yet."""
        return self._orthogonalized(update, site) if self.finishes else update

    @property
    def finishes(self) -> bool:
        """Whether the update is orthogonalized at full size."""
        return self.orthogonalize == "full"

    def _orthogonalized(self, local: Tensor, site: Site, whole: bool = False) -> Tensor:
        if site.rows.parameter.ndim < 2:
            return self._orthogonalized_vector(local, site)
        factor = newton_schulz(
            local if whole else site.rows.gather(local),
            self.ns_steps,
            self.ns_coefficients,
            self.ns_eps,
            getattr(torch, self.newton_schulz_dtype),
        )
        factor = factor.to(local.dtype)
        return factor if whole else site.rows.own(factor)

    def _orthogonalized_vector(self, local: Tensor, site: Site) -> Tensor:
        """Return what the iteration makes of one row, whose elements may lie in several processes."""
        square = site.rows.sum(torch.linalg.vector_norm(local).square())
        divisor = square.sqrt().clamp(min=self.ns_eps)
        factor, remaining = 1 / divisor, square / divisor.square()
        a, b, c = self.ns_coefficients
        for _ in range(self.ns_steps):
            slope = a + b * remaining + c * remaining.square()
            factor, remaining = factor * slope, remaining * slope.square()
        return local * factor
