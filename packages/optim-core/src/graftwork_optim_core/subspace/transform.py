"""What a gradient transform must do for an optimizer whose state lives in its coarse space.

The host keeps averages of the coarse gradient; the transform makes the coarse gradient and turns the host's
direction, together with whatever the coarse gradient left out, into an update of the full weight.

All tensors are local to the process, two-dimensional and in the arithmetic's dtype (see
:func:`graftwork_optim_core.common.parameters.arithmetic_dtype`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

from torch import Tensor

from graftwork_optim_core.common.scalars import Scalar
from graftwork_optim_core.subspace.site import Site, Slot


@dataclass(frozen=True, slots=True)
class Direction:
    """Where a host wants the coarse coefficients to go: ``numerator / denominator``, before bias correction.

    Args:
        numerator: ``[rows, coarse]``; it may be the host's own average, so it is not to be written into.
        denominator: ``[rows, coarse]``, positive and fresh; what any other gradient of the same block is
            divided by too. None divides by nothing.
        details: whether what the coarse gradient left out takes part in the update.
    """

    numerator: Tensor
    denominator: Tensor | None
    details: bool = True

    def quotient(self) -> Tensor:
        """Return the direction itself; the numerator where nothing divides it."""
        return self.numerator if self.denominator is None else self.numerator / self.denominator


@dataclass(frozen=True, slots=True)
class BiasCorrection:
    """Factors that undo the start at zero of the host's running averages, for one weight at its own step.

    Each is a number, or a column ``[rows, 1]`` where a matrix holds the rows of several weights.

    Args:
        mean: multiplies the numerator, ``1 / (1 - beta1 ** t)``.
        root: multiplies the inverse of the denominator, ``sqrt(1 - beta2 ** t)``.
    """

    mean: Scalar = 1.0
    root: Scalar = 1.0


class Refresh(Protocol):
    """What changed when a transform took new coordinates."""

    @property
    def restarts(self) -> bool:
        """Whether the averages start anew, at zero."""
        ...

    def carry(self, average: Tensor) -> Tensor:
        """Return an average that is linear in the gradient, in the new coordinates."""
        ...


class HaarBlocks(NamedTuple):
    """What a kernel must know of a transform that is Haar's: its level, and whether details are bounded."""

    level: int
    guard: bool


class GradientTransform(ABC):
    """A linear map of gradients to a smaller space, and the way back.

    A subclass that is registered under the kind ``gradient-transform`` is called with its options, which are
    the parameters of its signature, and can then be named in any optimizer of the family.
    """

    row_wise: ClassVar[bool] = True
    """Whether rows are independent and nothing is kept of them, so that they may be taken in runs."""

    matrices_only: ClassVar[bool] = False
    """Whether a weight must have two dimensions; others make the plain step of the optimizer."""

    needs_gradient: ClassVar[bool] = True
    """Whether :meth:`expand` looks at the gradient, or at the direction alone."""

    counts_calls: ClassVar[bool] = False
    """Whether the host must decide by the number of steps, which a captured step cannot."""

    coordinates: ClassVar[tuple[str, ...]] = ()
    """Names of the options that say in which coordinates averages are kept: they cannot change with a group's
    others once there is state."""

    @property
    def as_haar(self) -> HaarBlocks | None:
        """Haar's level and guard where the transform is Haar's exactly, 0 being none at all, so that a kernel
        may make a step in its basis; else None."""
        return None

    @property
    def column_block(self) -> int:
        """How many columns are taken together, so that they must lie in one process; 0 if all."""
        return 1

    def is_identity(self, shape: tuple[int, int]) -> bool:
        """Whether a matrix of this shape is not transformed at all; its step is then the host's own."""
        return False

    @abstractmethod
    def coarse_shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Return the shape of the coarse gradient of a matrix of this shape."""

    def keeps_rows(self, shape: tuple[int, int]) -> bool:
        """Whether row i of the coarse gradient comes from row i alone; otherwise each process has all of
        it."""
        return True

    def slots(self, shape: tuple[int, int]) -> dict[str, Slot]:
        """Return the tensors that the transform itself keeps of a weight of this shape."""
        return {}

    def refresh(self, gradient: Callable[[], Tensor], site: Site) -> Refresh | None:
        """Take new coordinates if it is time to, before the gradient is compressed.

        Called once for every step that a gradient arrives for; writes into ``site.state``.

        Args:
            gradient: returns the gradient to be descended, ``[rows, width]``.
            site: the weight.
        """
        return None

    def is_due(self, site: Site) -> bool:
        """Whether the next step will take new coordinates from its gradient."""
        return False

    def has_begun(self, site: Site) -> bool:
        """Whether a gradient has arrived for the weight yet."""
        return True

    @abstractmethod
    def compress(self, gradient: Tensor, site: Site) -> Tensor:
        """Return the coarse gradient ``[rows, coarse]``; any inf or NaN of the gradient must show in it."""

    @abstractmethod
    def expand(
        self, gradient: Tensor, coarse: Tensor, direction: Direction, correction: BiasCorrection, site: Site
    ) -> Tensor:
        """Return the update ``[rows, width]``, a fresh tensor, to be multiplied by the rate and
        subtracted."""

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
        """Subtract ``rate * expand(...)`` from the values without making the update, where that is cheaper.

        Returns:
            Whether it was done.
        """
        return False
