"""Any optimizer registered with Graftwork, by its name, in Lightning."""

from graftwork_lightning.optimizer import OptimizerByName, optimizer_for

__all__ = ["optimizer_for", "OptimizerByName"]
