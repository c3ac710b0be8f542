"""Graftwork's metrics in Weights & Biases."""

from graftwork_wandb.tracker import WandbTracker

__all__ = ["WandbTracker"]
