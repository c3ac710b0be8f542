"""GaLore's and GoLore's projections as gradient transforms.

Sources: Zhao et al., GaLore, arXiv:2403.03507; He, Li, Hu, Chen, Yuan, Subspace Optimization for Large
Language Models with Convergence Guarantees (GoLore), arXiv:2410.11289.

A basis is taken from the current stochastic gradient at the weight's steps 0, T, 2T, ... and kept in between:

    R = P^T G,    host on R,    W <- W - rate * P N        (left; right and both sides alike).

At a refresh the moments are kept as they are, projected into the new basis (the first only), or dropped.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from graftwork_optim_core.common.ranges import require_one_of, require_whole
from graftwork_optim_core.lowrank.bases import overlap
from graftwork_optim_core.lowrank.sides import LEFT, RIGHT, SIDES, Change, Projection, Side, bases_of
from graftwork_optim_core.subspace.identity import corrected_quotient
from graftwork_optim_core.subspace.site import Site, Slot
from graftwork_optim_core.subspace.transform import BiasCorrection, Direction, GradientTransform

_GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class LowRankTransform(GradientTransform):
    """A projection on ``rank`` orthonormal directions; how they are found is a subclass's.

    A weight of more than two dimensions is taken as ``[shape[0], everything else]``. Where rank is no less
    than a weight's smaller dimension the transform is the identity.

    Args:
        rank: directions kept, 1 or more.
        side: "std" projects the shorter axis, as published; "reverse_std" the longer; "left" the rows,
            "right" the columns, "full" both. Where rows are spread over processes a right basis costs no
            communication in an ordinary step, and never more memory than "std".
        refresh_every: steps of a weight between refreshes, 1 or more.
        stagger: refresh weights at different steps, so that after the first no step pays for all.
        moments: at a refresh "keep" the averages as they are, "project" the first moment into the new basis,
            or "reset" all.
        align_signs: flip new directions so that each has a non-negative product with the old of its place.

    Raises:
        ValueError: an option is out of its range.
    """

    row_wise: ClassVar[bool] = False
    matrices_only: ClassVar[bool] = True
    needs_gradient: ClassVar[bool] = False
    counts_calls: ClassVar[bool] = True
    coordinates: ClassVar[tuple[str, ...]] = ("rank", "side")

    rank: int = 128
    side: Side = "std"
    refresh_every: int = 200
    stagger: bool = False
    moments: Literal["keep", "project", "reset"] = "keep"
    align_signs: bool = True

    def __post_init__(self) -> None:
        require_whole("rank", self.rank, 1)
        require_one_of("side", self.side, SIDES)
        require_whole("refresh_every", self.refresh_every, 1)
        require_one_of("moments", self.moments, ("keep", "project", "reset"))

    @abstractmethod
    def find(
        self, gradient: Callable[[], Tensor], name: str, previous: Tensor | None, site: Site
    ) -> Tensor | None:
        """Return a new basis, this process's rows of it if it is a left one; None to keep the old.

        Args:
            gradient: returns ``[rows, width]``.
            name: which basis, ``"basis_left"`` or ``"basis_right"``.
            previous: the basis until now, None at the first refresh.
            site: the weight; ``site.state["refreshes"]`` says how many bases it has had.
        """

    def is_identity(self, shape: tuple[int, int]) -> bool:
        """Whether the subspace would be the whole space."""
        return self.rank >= min(shape)

    @property
    def column_block(self) -> int:
        """All columns must lie in one process."""
        return 0

    def coarse_shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Return the shape of the projected gradient.

        >>> from graftwork_optim_core.lowrank.methods import SVDTransform
        >>> SVDTransform(rank=4).coarse_shape((64, 16)), SVDTransform(rank=4).coarse_shape((16, 64))
        ((64, 4), (4, 64))
        """
        if self.is_identity(shape):
            return shape
        bases = bases_of(self.side, shape)
        rows, columns = (
            self.rank if name in bases else size for name, size in zip(_BASES, shape, strict=True)
        )
        return rows, columns

    def keeps_rows(self, shape: tuple[int, int]) -> bool:
        """Whether no left basis mixes the rows."""
        return self.is_identity(shape) or LEFT not in bases_of(self.side, shape)

    def slots(self, shape: tuple[int, int]) -> dict[str, Slot]:
        """Return the bases, and two counters."""
        if self.is_identity(shape):
            return {}
        sizes = dict(zip(_BASES, shape, strict=True))
        bases = {
            name: Slot((sizes[name], self.rank), follows_rows=name == LEFT)
            for name in bases_of(self.side, shape)
        }
        counter = Slot((1, 1), follows_rows=False, dtype=torch.int64, on_host=True)
        return {**bases, "calls": counter, "refreshes": counter}

    def is_due(self, site: Site) -> bool:
        """Whether the next step refreshes; a weight without a basis always does."""
        if self.is_identity(site.shape):
            return False
        if not int(site.state["refreshes"]):
            return True
        offset = int(site.index * _GOLDEN % 1 * self.refresh_every) if self.stagger else 0
        return (int(site.state["calls"]) + offset) % self.refresh_every == 0

    def has_begun(self, site: Site) -> bool:
        """Whether a gradient has arrived for the weight yet."""
        return not self.is_identity(site.shape) and int(site.state["calls"]) > 0

    def refresh(self, gradient: Callable[[], Tensor], site: Site) -> Change | None:
        """Take new bases if it is time to."""
        if self.is_identity(site.shape):
            return None
        due = self.is_due(site)
        change = self._take_new(gradient, site) if due else None
        site.state["calls"].add_(1)
        return change

    def _take_new(self, gradient: Callable[[], Tensor], site: Site) -> Change | None:
        first = not int(site.state["refreshes"])
        names = bases_of(self.side, site.shape)
        old = {name: None if first else site.state[name] for name in names}
        new = {name: self.find(gradient, name, old[name], site) for name in names}
        maps: dict[str, Tensor] = {}
        if any(basis is None for basis in new.values()):
            return None
        for name, basis in new.items():
            previous = old[name]
            assert basis is not None
            if previous is not None:
                rows = site.rows if name == LEFT else None
                product = overlap(previous.to(basis.dtype), basis, rows)
                if self.align_signs:
                    signs = torch.where(product.diagonal() < 0, -1.0, 1.0).to(basis.dtype)
                    basis, product = basis * signs, product * signs[:, None]
                maps[name] = product
            site.state[name].copy_(basis)
        site.state["refreshes"].add_(1)
        if first:
            return None
        if self.moments == "reset":
            return Change(None, None, restarts=True)
        if self.moments == "keep":
            return None
        left, right = (maps.get(name) for name in _BASES)
        return Change(left, None if right is None else right.T)

    def _projection(self, site: Site) -> Projection:
        return Projection.of(site.state, site.rows)

    def compress(self, gradient: Tensor, site: Site) -> Tensor:
        """Return ``R``."""
        return gradient if self.is_identity(site.shape) else self._projection(site).down(gradient)

    def expand(
        self, gradient: Tensor, coarse: Tensor, direction: Direction, correction: BiasCorrection, site: Site
    ) -> Tensor:
        """Return the direction as a matrix of the weight's shape."""
        quotient = corrected_quotient(direction, correction)
        return quotient if self.is_identity(site.shape) else self._projection(site).up(quotient)

    def descend(
        self,
        values: Tensor,
        gradient: Tensor,
        coarse: Tensor,
        direction: Direction,
        correction: BiasCorrection,
        site: Site,
        rate: float,
    ) -> bool:
        """Subtract the update as one product accumulated into the weight, without a matrix of its size."""
        if self.is_identity(site.shape):
            return False
        first, second = self._projection(site).factors(corrected_quotient(direction, correction))
        values.addmm_(first, second, alpha=-rate)
        return True


_BASES = (LEFT, RIGHT)
