"""How many bytes an optimizer's state takes, counted in the storages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from graftwork_optim_core.common.sharding import local_part


@dataclass(frozen=True, slots=True)
class StateBytes:
    """Bytes of optimizer state in this process.

    Args:
        by_group: of each parameter group, in order.
    """

    by_group: tuple[int, ...]

    @property
    def total(self) -> int:
        """Of all groups."""
        return sum(self.by_group)


def counted_state_bytes(
    groups: Iterable[Mapping[str, Any]], state: Mapping[Tensor, Mapping[str, Any]]
) -> StateBytes:
    """Count an optimizer's state by storage: a storage that several tensors view is counted once.

    Args:
        groups: the optimizer's ``param_groups``.
        state: the optimizer's ``state``.
    """
    seen: set[int] = set()
    by_group = []
    for group in groups:
        count = 0
        for parameter in group["params"]:
            for value in state.get(parameter, {}).values():
                if isinstance(value, Tensor):
                    storage = local_part(value).untyped_storage()
                    identity = storage._cdata
                    count += 0 if identity in seen else storage.nbytes()
                    seen.add(identity)
        by_group.append(count)
    return StateBytes(tuple(by_group))
