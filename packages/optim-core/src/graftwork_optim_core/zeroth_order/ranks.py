"""What the processes of a zeroth-order optimizer tell each other: one number a step.

``average``: all processes perturb along the same directions and each evaluates its own batch; the mean of the
differences of the losses makes every process take the same step. ``probes``: all evaluate the same batch,
each along directions of its own; every process then takes the steps of all.

Raises GraftworkError where processes turn out to hold different weights.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from graftwork import GraftworkError
from graftwork_optim_core.common.sharding import is_sharded_type

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


@dataclass(frozen=True, slots=True)
class Ranks:
    """The processes that share a training.

    Args:
        mode: "none", "average" or "probes".
        group: of processes; none is the default group.
    """

    mode: Literal["none", "average", "probes"]
    group: ProcessGroup | None = None

    @property
    def size(self) -> int:
        """Processes that take part."""
        return dist.get_world_size(self.group) if self._together else 1

    @property
    def rank(self) -> int:
        """This process among them."""
        return dist.get_rank(self.group) if self._together else 0

    @property
    def _together(self) -> bool:
        return self.mode != "none" and dist.is_available() and dist.is_initialized()

    def exchange(self, slopes: Tensor) -> Tensor:
        """Return the slopes of the step that all take.

        Args:
            slopes: of this process's probes, ``[probes]``.

        Returns:
            Their means over processes, ``[probes]``; or with "probes" those of all, ``[size * probes]``.
        """
        if self.size == 1:
            return slopes
        if self.mode == "average":
            dist.all_reduce(slopes, group=self.group)
            return slopes / self.size
        gathered = [torch.empty_like(slopes) for _ in range(self.size)]
        dist.all_gather(gathered, slopes, group=self.group)
        return torch.cat(gathered)

    def check_equal(self, parameters: Iterable[Tensor], step: int) -> None:
        """Check that all processes hold the same bits; of sharded weights every process holds its own.

        Raises:
            GraftworkError: they do not; the message names the processes.
        """
        if self.size == 1:
            return
        digest = checksum_of(parameter for parameter in parameters if not is_sharded_type(parameter))
        digests: list[int | None] = [None] * self.size
        dist.all_gather_object(digests, digest, group=self.group)
        different = [rank for rank, other in enumerate(digests) if other != digests[0]]
        if different:
            raise GraftworkError(
                f"after step {step} the weights of processes {different} differ from those of process 0: "
                "they must start equal and take every step together"
            )


def checksum_of(tensors: Iterable[Tensor]) -> int:
    """Return a checksum of the tensors' bits.

    >>> checksum_of([torch.zeros(2)]) == checksum_of([torch.zeros(2)]) != checksum_of([torch.ones(2)])
    True
    """
    total = 0
    for tensor in tensors:
        raw = tensor.detach().contiguous().view(torch.uint8).cpu().numpy().tobytes() if tensor.ndim else b""
        raw = raw or struct.pack("<d", float(tensor)) if tensor.numel() else b""
        total = zlib.crc32(raw, total)
    return total
