"""Memory-efficient optimizers for any torch training loop: GWT, GaLore, GoLore, and what they are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graftwork.lazy import lazy_names

if TYPE_CHECKING:
    from graftwork_optim_core.common.state_bytes import StateBytes
    from graftwork_optim_core.galore import GaLoreAdafactor, GaLoreAdamW, GaLoreAdamW8bit
    from graftwork_optim_core.golore import GoLoreAdamW, GoLoreMSGD
    from graftwork_optim_core.gwt import GWTAdamW, GWTMuon
    from graftwork_optim_core.lozo import LOZO, LOZOM
    from graftwork_optim_core.memory import predicted_state_bytes
    from graftwork_optim_core.mezo import MeZO
    from graftwork_optim_core.normalized.accelerated import ANSGDC
    from graftwork_optim_core.normalized.nsgdc import NSGDC
    from graftwork_optim_core.normalized.schedules import nsgdc_schedule
    from graftwork_optim_core.normalized.unknown_horizon import UnknownHorizonSchedule
    from graftwork_optim_core.normalized.variance_reduced import NSGDCVR
    from graftwork_optim_core.subspace.host import UpdateHost
    from graftwork_optim_core.subspace.optimizer import SubspaceOptimizer
    from graftwork_optim_core.subspace.selection import param_groups
    from graftwork_optim_core.subspace.transform import GradientTransform
    from graftwork_optim_core.two_rates import TwoRateAdamW
    from graftwork_optim_core.zeroth_order.log import RunLog
    from graftwork_optim_core.zeroth_order.optimizer import ZerothOrderOptimizer
    from graftwork_optim_core.zeroth_order.replay import read_log

__all__ = [
    "GWTAdamW",
    "GWTMuon",
    "GaLoreAdamW",
    "GaLoreAdamW8bit",
    "GaLoreAdafactor",
    "GoLoreAdamW",
    "GoLoreMSGD",
    "TwoRateAdamW",
    "SubspaceOptimizer",
    "LOZO",
    "LOZOM",
    "MeZO",
    "ZerothOrderOptimizer",
    "RunLog",
    "read_log",
    "NSGDC",
    "NSGDCVR",
    "ANSGDC",
    "nsgdc_schedule",
    "UnknownHorizonSchedule",
    "UpdateHost",
    "GradientTransform",
    "param_groups",
    "predicted_state_bytes",
    "StateBytes",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "GWTAdamW": "gwt",
        "GWTMuon": "gwt",
        "GaLoreAdafactor": "galore",
        "GaLoreAdamW": "galore",
        "GaLoreAdamW8bit": "galore",
        "GoLoreAdamW": "golore",
        "GoLoreMSGD": "golore",
        "GradientTransform": "subspace.transform",
        "LOZO": "lozo",
        "LOZOM": "lozo",
        "MeZO": "mezo",
        "ANSGDC": "normalized.accelerated",
        "NSGDC": "normalized.nsgdc",
        "NSGDCVR": "normalized.variance_reduced",
        "nsgdc_schedule": "normalized.schedules",
        "UnknownHorizonSchedule": "normalized.unknown_horizon",
        "RunLog": "zeroth_order.log",
        "read_log": "zeroth_order.replay",
        "ZerothOrderOptimizer": "zeroth_order.optimizer",
        "StateBytes": "common.state_bytes",
        "SubspaceOptimizer": "subspace.optimizer",
        "TwoRateAdamW": "two_rates",
        "UpdateHost": "subspace.host",
        "param_groups": "subspace.selection",
        "predicted_state_bytes": "memory",
    },
)
