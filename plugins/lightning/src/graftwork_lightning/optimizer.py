"""Optimizers by name for ``configure_optimizers``, and for modules that are given their optimizer."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import ParamsT

from graftwork import GraftworkError, Kind, choose

# They flatten weights and cut them up.
_FLATTENING_STRATEGIES = ("FSDPStrategy", "DeepSpeedStrategy")


def optimizer_for(module: nn.Module, name: str, /, **options: Any) -> torch.optim.Optimizer:
    """Make the optimizer of a module: ``return optimizer_for(self, "gwt-adamw", lr=1e-2)``.

    Args:
        module: a LightningModule in its ``configure_optimizers``, or any module.
        name: a registered name, ``graftwork list optimizer`` shows all.
        **options: of the optimizer and of its ``select_parameters``, as ``graftwork info optimizer/NAME``
            explains them. An open ``total_steps`` is the Lightning Trainer's number of steps. Where
            ``weight_decay`` is not 0, biases, the scales of norms and all else of fewer than two dimensions
            are in groups that do not decay.

    Raises:
        GraftworkError: the name is unknown, an option is wrong or refused, the optimizer needs a closure, or
            its state would not survive the Trainer's strategy.

    >>> module = nn.ModuleDict({"mlp": nn.Linear(8, 4), "head": nn.Linear(4, 2)})
    >>> transformed, plain = optimizer_for(module, "gwt-adamw", lr=1e-2, level=1).param_groups
    1 of 4 tensors transformed: 32 of 46 parameters (69.6%)
    >>> transformed["lr"], plain["plain"]
    (0.01, True)
    """
    return OptimizerByName(name, options)(module)


class OptimizerByName:
    """A name and options that become an optimizer once there is a module: what a LightningCLI can make.

    A module takes one in its constructor and calls it with itself: ``return self.optimizer(self)``.

    Args:
        name: a registered name.
        options: see :func:`optimizer_for`.

    Raises:
        GraftworkError: the name is unknown, an option is wrong, or the optimizer needs a closure.

    >>> by_name = OptimizerByName("adamw", {"lr": 0.5})
    >>> by_name(nn.Linear(2, 1)).param_groups[0]["lr"]
    0.5
    """

    def __init__(self, name: str, options: Mapping[str, Any] | None = None) -> None:
        self.name = name
        self.options = dict(options or {})
        self._choice = choose(Kind.OPTIMIZER, name, self.options)
        closure = getattr(self._choice.target, "closure", None)
        if closure is not None:
            raise GraftworkError(
                f"optimizer/{self._choice.name} calls for the {closure} within its step, and Lightning's "
                "closure does more than that: choose one whose step needs no closure"
            )

    def __call__(self, module: nn.Module | ParamsT) -> torch.optim.Optimizer:
        """Make the optimizer.

        Args:
            module: all of it, so that ``select_parameters`` can tell its parts; where the optimizer has none,
                parameters will do, in groups of your own if some of them are not to decay.
        """
        if not isinstance(module, nn.Module):
            return self._over_parameters(module)
        trainer = _trainer_of(module)
        facts: dict[str, Any] = {}
        # Asking for the number of steps loads the training data, so only who wants to know asks.
        if "total_steps" in inspect.signature(self._choice.target).parameters:
            steps = getattr(trainer, "estimated_stepping_batches", math.inf)
            facts = {"total_steps": int(steps)} if 0 < steps < math.inf else {}
        optimizer: torch.optim.Optimizer = self._choice.for_model(module, **facts)
        strategy = type(getattr(trainer, "strategy", None)).__name__
        if strategy in _FLATTENING_STRATEGIES and optimizer.state:
            raise GraftworkError(
                f"optimizer/{self._choice.name} makes its state for whole weights, and {strategy} flattens "
                "them: use DDP, or an optimizer that makes its state in the first step"
            )
        return optimizer

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.options!r})"

    def _over_parameters(self, parameters: ParamsT) -> torch.optim.Optimizer:
        if self._choice.kind.companion_of(self._choice.target) is not None:
            raise GraftworkError(
                f"optimizer/{self._choice.name} tells weights apart by the modules that they are in: call it "
                "with the module, not with its parameters"
            )
        optimizer: torch.optim.Optimizer = self._choice(parameters)
        return optimizer


def _trainer_of(module: nn.Module) -> Any:
    try:
        return getattr(module, "trainer", None)
    except RuntimeError:  # how a LightningModule says that it is attached to none
        return None
