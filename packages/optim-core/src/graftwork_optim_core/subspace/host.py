"""What an update host is: the rule that keeps running averages of the coarse gradient and says where to go.

A host sees lists of tensors, one entry a weight (or a run of a weight's rows), so that one call serves a
single weight as well as a batch. What it is given to accumulate into is a working copy in the arithmetic's
dtype wherever the state itself must not be touched yet.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from graftwork_optim_core.common.scalars import Scalar
from graftwork_optim_core.subspace.site import Site, Slot
from graftwork_optim_core.subspace.transform import BiasCorrection, Direction

Averages = Sequence[list[Tensor]]
"""One list of tensors for each of a host's averages, in the order of its slots."""


class AdamNumbers(NamedTuple):
    """What a kernel must know of a host that is Adam."""

    betas: tuple[float, float]
    eps: float


class UpdateHost(ABC):
    """The rule that an optimizer hosts in the coarse space.

    A subclass that is registered under the kind ``optimizer-host`` is called with its options, which are the
    parameters of its signature, and can then be named in any optimizer of the family.
    """

    row_wise: ClassVar[bool] = True
    """Whether rows are independent of one another."""

    elementwise: ClassVar[bool] = True
    """Whether even the elements are, so that columns may lie in several processes."""

    matrices_only: ClassVar[bool] = False
    """Whether a weight must have two dimensions; others make the plain step of the optimizer."""

    linear: ClassVar[tuple[int, ...]] = (0,)
    """Places of the working averages that are linear in the gradients, and move with new coordinates."""

    measures: ClassVar[bool] = False
    """Whether :meth:`divisor` needs the norm of the whole direction."""

    @property
    def as_adam(self) -> AdamNumbers | None:
        """Adam's numbers where the host is Adam exactly, so that a kernel may make its step; else None."""
        return None

    @abstractmethod
    def slots(self, coarse_shape: tuple[int, int]) -> dict[str, Slot]:
        """Return the tensors that the host keeps of a weight with this coarse shape.

        A coarse shape of one row may be a vector's, whose elements may lie in several processes.
        """

    def load(self, stored: Averages, dtype: torch.dtype, *, copy: bool) -> list[list[Tensor]]:
        """Return the averages to work on, in the arithmetic's dtype.

        Args:
            stored: the slots' tensors.
            dtype: of the arithmetic.
            copy: whether the stored tensors must be left alone until :meth:`store`.
        """
        return [[tensor.to(dtype, copy=copy) for tensor in one] for one in stored]

    def store(self, working: Averages, stored: Averages, gates: Sequence[Tensor] | None) -> None:
        """Write the averages back where they are copies.

        Args:
            working: as :meth:`load` returned them, after :meth:`accumulate`.
            stored: the slots' tensors.
            gates: one flag an entry, which keeps the stored tensor where it is false; None writes all.
        """
        for one, new in zip(stored, working, strict=True):
            for index, (target, value) in enumerate(zip(one, new, strict=True)):
                if target is not value:
                    write_gated(target, value, None if gates is None else gates[index])

    @abstractmethod
    def accumulate(
        self, averages: Averages, coarse: list[Tensor], steps: Sequence[Scalar], sites: Sequence[Site]
    ) -> None:
        """Take one coarse gradient into the averages, in place.

        Args:
            averages: as :meth:`load` returned them.
            coarse: ``[rows, coarse]`` each.
            steps: of each weight, 1 being the first.
            sites: of each weight.
        """

    @abstractmethod
    def direction(self, averages: Averages, coarse: list[Tensor], sites: Sequence[Site]) -> list[Direction]:
        """Return the direction that the averages give."""

    def correction(self, step: Scalar) -> BiasCorrection:
        """Return the bias correction at a weight's step, 1 being the first."""
        return BiasCorrection()

    def divisor(self, norm: Scalar, elements: int) -> Scalar:
        """Return by what to divide a direction of this norm and this many elements."""
        return 1.0

    def rate(self, lr: Scalar, step: Scalar, values: Tensor, site: Site) -> Scalar:
        """Return the step size of a weight with these local values."""
        return lr

    def finish(self, update: Tensor, site: Site) -> Tensor:
        """Return the update of the full weight as it is to be applied."""
        return update

    @property
    def finishes(self) -> bool:
        """Whether :meth:`finish` does anything, so that the update must be made as a tensor."""
        return type(self).finish is not UpdateHost.finish


def write_gated(target: Tensor, value: Tensor, gate: Tensor | None) -> None:
    """Copy a value into a target, or leave the target where the gate is false."""
    if gate is None:
        target.copy_(value)
    else:
        target.copy_(torch.where(gate, value, target.to(value.dtype)))
