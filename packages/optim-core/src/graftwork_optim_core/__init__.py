"""Memory-efficient optimizers for any torch training loop; the first is GWT, Adam in a wavelet subspace."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graftwork_optim_core.gwt import GWTAdamW
    from graftwork_optim_core.memory import StateBytes, predicted_state_bytes
    from graftwork_optim_core.selection import param_groups
    from graftwork_optim_core.subspace.optimizer import SubspaceOptimizer

__all__ = ["GWTAdamW", "param_groups", "predicted_state_bytes", "StateBytes", "SubspaceOptimizer"]

_HOMES = {
    "GWTAdamW": "gwt",
    "StateBytes": "memory",
    "SubspaceOptimizer": "subspace.optimizer",
    "param_groups": "selection",
    "predicted_state_bytes": "memory",
}


def __getattr__(name: str) -> object:
    # Resolved on first use: listing plugins must not cost the import of torch.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
