"""Memory-efficient optimizers for any torch training loop; the first is GWT, Adam in a wavelet subspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graftwork.lazy import lazy_names

if TYPE_CHECKING:
    from graftwork_optim_core.gwt import GWTAdamW
    from graftwork_optim_core.memory import predicted_state_bytes
    from graftwork_optim_core.selection import param_groups
    from graftwork_optim_core.subspace.optimizer import SubspaceOptimizer
    from graftwork_optim_core.subspace.state_bytes import StateBytes

__all__ = ["GWTAdamW", "param_groups", "predicted_state_bytes", "StateBytes", "SubspaceOptimizer"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "GWTAdamW": "gwt",
        "StateBytes": "subspace.state_bytes",
        "SubspaceOptimizer": "subspace.optimizer",
        "param_groups": "selection",
        "predicted_state_bytes": "memory",
    },
)
