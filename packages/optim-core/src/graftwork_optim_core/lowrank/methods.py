"""The projections by name: how each finds its bases.

Sources: GaLore, arXiv:2403.03507 (``svd``; the other three are cheaper ways to the same directions), GoLore,
arXiv:2410.11289 (``random``, and ``golore`` which goes from one to the other).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from graftwork_optim_core.common.ranges import is_number, require, require_one_of, require_whole
from graftwork_optim_core.lowrank.bases import BasisMethod, BasisVerdict, basis_of
from graftwork_optim_core.lowrank.sides import LEFT
from graftwork_optim_core.lowrank.transform import LowRankTransform
from graftwork_optim_core.subspace.site import Site


@dataclass(frozen=True)
class _ByMethod(LowRankTransform):
    """A projection whose bases come from :func:`~graftwork_optim_core.lowrank.bases.basis_of`."""

    finds_by: ClassVar[BasisMethod]
    """The method, where it is one for the whole run."""

    def method(self, site: Site) -> BasisMethod:
        """Return which method finds the next basis."""
        return self.finds_by

    def method_options(self) -> dict[str, Any]:
        """Return further options of the method."""
        return {}

    def find(
        self, gradient: Callable[[], Tensor], name: str, previous: Tensor | None, site: Site
    ) -> Tensor | None:
        """Return a basis; a random one where there was none before and the gradient is zero."""
        # The two bases of side "full" must not be the same random numbers.
        place = 2 * site.index + (name == LEFT)
        options: dict[str, Any] = {
            "shape": site.shape,
            "rows": site.rows,
            "seed": (getattr(self, "seed", 0), place, int(site.state["refreshes"])),
        }
        side: Literal["left", "right"] = "left" if name == LEFT else "right"
        values = gradient()
        found = basis_of(
            self.method(site),
            values,
            self.rank,
            side,
            previous=previous,
            **options,
            **self.method_options(),
        )
        if found.verdict is BasisVerdict.ZERO and previous is None:
            found = basis_of("random", values, self.rank, side, **options)
        return found.basis


@dataclass(frozen=True)
class SVDTransform(_ByMethod):
    """Leading singular vectors, by a full singular value decomposition.

    Args: those of :class:`~graftwork_optim_core.lowrank.transform.LowRankTransform`.

    >>> SVDTransform(rank=2).slots((8, 16))["basis_left"].shape
    (8, 2)
    """

    finds_by: ClassVar[BasisMethod] = "svd"


@dataclass(frozen=True)
class GramTransform(_ByMethod):
    """The same directions as eigenvectors of the smaller Gram matrix.

    Args: those of :class:`~graftwork_optim_core.lowrank.transform.LowRankTransform`, and

        gram_in_float64: square and decompose in float64. In float32 directions with less than some 3e-4 of
            the largest singular value drown in rounding.
    """

    finds_by: ClassVar[BasisMethod] = "gram"

    gram_in_float64: bool = False

    def method_options(self) -> dict[str, Any]:
        """Return the precision."""
        return {"gram_in_float64": self.gram_in_float64}


@dataclass(frozen=True)
class RandomizedSVDTransform(_ByMethod):
    """Nearly the same directions from a random sketch of the gradient (arXiv:0909.4061).

    Args: those of :class:`~graftwork_optim_core.lowrank.transform.LowRankTransform`, and

        power_steps: multiplications of the sketch with the Gram matrix, 0 or more.
        oversampling: further directions of the sketch, 0 or more.
        seed: of the sketch.
    """

    finds_by: ClassVar[BasisMethod] = "rsvd"

    power_steps: int = 2
    oversampling: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole("power_steps", self.power_steps, 0)
        require_whole("oversampling", self.oversampling, 0)
        require_whole("seed", self.seed, 0)

    def method_options(self) -> dict[str, Any]:
        """Return the sketch's."""
        return {"power_steps": self.power_steps, "oversampling": self.oversampling}


@dataclass(frozen=True)
class PowerTransform(_ByMethod):
    """One block power step from the previous basis; the first basis is ``gram``'s.

    Args: those of :class:`~graftwork_optim_core.lowrank.transform.LowRankTransform`.
    """

    finds_by: ClassVar[BasisMethod] = "power"


@dataclass(frozen=True)
class RandomTransform(_ByMethod):
    """Uniformly random directions, independent of the gradient.

    Args: those of :class:`~graftwork_optim_core.lowrank.transform.LowRankTransform`, and

        seed: with the weight's place and the number of its bases so far determines every basis.
    """

    finds_by: ClassVar[BasisMethod] = "random"

    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole("seed", self.seed, 0)


@dataclass(frozen=True)
class GoLoreTransform(RandomTransform):
    """Leading singular vectors first, random directions in the last part of the run.

    Which of them is decided at refreshes alone: a basis is random if the weight has made at least
    ``(1 - random_last) * total_steps`` steps.

    Args: those of :class:`RandomTransform`, and

        early_basis: "svd", "gram", "rsvd" or "power".
        random_last: fraction of the run, at its end, whose bases are random, in [0, 1].
        total_steps: of the run; needed unless random_last is 0 or 1.

    Raises:
        ValueError: an option is out of its range, or total_steps is missing.

    >>> GoLoreTransform(random_last=0.2)
    Traceback (most recent call last):
    ...
    ValueError: total_steps must be given with random_last=0.2: of how many steps are the last 20 % random?
    """

    early_basis: Literal["svd", "gram", "rsvd", "power"] = "svd"
    random_last: float = 0.2
    total_steps: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("early_basis", self.early_basis, ("svd", "gram", "rsvd", "power"))
        fraction = is_number(self.random_last) and 0 <= self.random_last <= 1
        require(fraction, "random_last", "in [0, 1]", self.random_last)
        if self.total_steps is not None:
            require_whole("total_steps", self.total_steps, 1)
        elif 0 < self.random_last < 1:
            raise ValueError(
                f"total_steps must be given with random_last={self.random_last}: of how many steps are the "
                f"last {100 * self.random_last:g} % random?"
            )

    @property
    def _first_random(self) -> float:
        if self.random_last in (0, 1):
            return math.inf if self.random_last == 0 else 0
        assert self.total_steps is not None
        # A hair less than the product: 0.8 of 200 000 must not become 160 000.00000000003.
        return math.ceil(self.total_steps * (1 - self.random_last) * (1 - 1e-12))

    def method(self, site: Site) -> BasisMethod:
        """Return ``random`` late in the run and the early method before."""
        return "random" if int(site.state["calls"]) >= self._first_random else self.early_basis
