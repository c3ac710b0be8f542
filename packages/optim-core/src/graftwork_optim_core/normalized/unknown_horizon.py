"""Schedules of normalized optimizers for runs of unknown length: step t counts as a run of t + 1 steps.

Momentum changes with the learning rate, so that torch's own schedulers do not do. Logarithmic factors that a
known length avoids may return.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from graftwork_optim_core.common.ranges import is_number, require, require_one_of
from graftwork_optim_core.normalized.schedules import KINDS, ScheduleKind, blind_schedule


class UnknownHorizonSchedule(LRScheduler):
    """Sets learning rate and momentum for the next step, when called after each.

    The learning rates that the groups of the optimizer have are ``gamma_0``.

    Args:
        optimizer: a normalized one.
        p: the moment of the noise that is finite, in (1, 2]; None if unknown, for "nsgdc" alone.
        kind: "nsgdc", "nsgdc-vr" or "a-nsgdc".
        last_epoch: steps made before; -1 for none.

    Raises:
        ValueError: an option is out of its range, or the optimizer has no momentum to set.

    >>> from graftwork_optim_core.normalized.nsgdc import NSGDC
    >>> optimizer = NSGDC([torch.nn.Parameter(torch.ones(2))], lr=2.0)
    >>> schedule = UnknownHorizonSchedule(optimizer, p=2.0)
    >>> for _ in range(15):
    ...     optimizer.step()
    ...     schedule.step()
    >>> optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]
    (0.25, 0.75)
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        p: float | None,
        kind: ScheduleKind = "nsgdc",
        last_epoch: int = -1,
    ) -> None:
        require_one_of("kind", kind, KINDS)
        require(p is None or (is_number(p) and 1 < p <= 2), "p", "None or in (1, 2]", p)
        lacking = [number for number, group in enumerate(optimizer.param_groups) if "momentum" not in group]
        if lacking:
            raise ValueError(
                "optimizer must be a normalized one, whose groups have a momentum; "
                f"{type(optimizer).__name__} has none in group {lacking[0]}"
            )
        blind_schedule(kind, p, 1, 1.0)
        self.p, self.kind = p, kind
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """Return the learning rates of the groups for the step that comes next, and set their momentum."""
        now = blind_schedule(self.kind, self.p, self.last_epoch + 1, 1.0)
        for group in self.optimizer.param_groups:
            group["momentum"] = now.momentum
        return [float(base) * now.lr for base in self.base_lrs]
