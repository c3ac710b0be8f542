"""How a strategy is carried out: the state of one variable, and what is sent when.

A driver does, once a step, with ``moved`` the point after the local move::

    direction = form.prepare(direction, exchange)      # trackers replace it, others hand it back
    moved     = point - step * direction               # or an optimizer's step
    sent      = form.outgoing(point, moved)
    point     = form.incoming(point, moved, exchange(sent))

``exchange`` is one round of mixing: a dictionary of tensors ``[agents here, parameters]`` to the same, mixed.
That :meth:`Form.outgoing` and :meth:`Form.incoming` are apart lets several variables share a round.

State is at least float32: corrections that are summed up in fewer digits do not stay corrections.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor

Exchange = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
Mean = Callable[[Tensor], Tensor]


class Form:
    """The state of one variable; this one has none, as it corrects nothing.

    Args:
        like: the variable, ``[agents here, parameters]``.
    """

    buffers: ClassVar[tuple[str, ...]] = ()
    """Names of the state's tensors, each ``[agents here, parameters]``."""

    reads_point: ClassVar[bool] = False
    """Whether the point before the move is looked at; where not, a driver need not keep it."""

    exchanges_first: ClassVar[bool] = False
    """Whether :meth:`prepare` takes a round, so that a step that is made again begins before the move."""

    def __init__(self, like: Tensor) -> None:
        self.state_dtype = torch.promote_types(like.dtype, torch.float32)
        for name in self.buffers:
            setattr(self, name, torch.zeros_like(like, dtype=self.state_dtype))

    def prepare(self, direction: Tensor, exchange: Exchange) -> Tensor:
        """Return the direction to move by."""
        return direction

    def outgoing(self, point: Tensor, moved: Tensor) -> dict[str, Tensor]:
        """Return what the neighbours need.

        Args:
            point: before the local move.
            moved: after it.
        """
        raise NotImplementedError

    def incoming(self, point: Tensor, moved: Tensor, mixed: Mapping[str, Tensor]) -> Tensor:
        """Return the next point.

        Args:
            point: before the local move.
            moved: after it.
            mixed: what :meth:`outgoing` gave, mixed.
        """
        raise NotImplementedError

    def combine(self, point: Tensor, moved: Tensor, exchange: Exchange) -> Tensor:
        """Do :meth:`outgoing`, a round, and :meth:`incoming`."""
        return self.incoming(point, moved, exchange(self.outgoing(point, moved)))

    def state(self) -> dict[str, Tensor]:
        """The state's tensors by name, to be saved and to be written into."""
        return {name: getattr(self, name) for name in self.buffers}

    def after_membership_change(self, mean: Mean) -> None:
        """Mend what no longer sums to what it should over those who are left.

        An agent that leaves takes its part of the correction along. The others' parts would then sum to
        something, and pull their mean to a biased point for ever.

        Args:
            mean: of a tensor ``[agents here, parameters]`` over all agents that are left, ``[parameters]``.
        """
