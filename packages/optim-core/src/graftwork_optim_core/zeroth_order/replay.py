"""A run taken again from its log: the same steps, without evaluating anything.

Raises GraftworkError where a file is no log or does not fit the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from graftwork import GraftworkError
from graftwork_optim_core.zeroth_order.log import LoggedSteps, read_logged_steps
from graftwork_optim_core.zeroth_order.optimizer import ZerothOrderOptimizer


@dataclass(frozen=True, slots=True)
class RecordedRun(LoggedSteps):
    """A log that was read, from which the run's steps can be taken."""

    def replay(self, model: nn.Module, steps: int | None = None) -> ZerothOrderOptimizer:
        """Take the recorded steps from a model's weights, which must be those that the run began with.

        On a CPU of the same kind the weights come out bit by bit as the run left them.

        Args:
            model: whose parameters have the names, or the order, of the recorded ones.
            steps: how many to take; none takes all.

        Returns:
            The optimizer, in the state in which the run left it; all movement is written into the weights.

        Raises:
            GraftworkError: the model's parameters are others.
        """
        optimizer = self._optimizer(model)
        optimizer.evaluation.take_out(self.rest["in_place"])
        changes = dict(self.rates)
        for step, slopes in enumerate(self.slopes[:steps].unbind()):
            for group, rate in zip(optimizer.param_groups, changes.get(step, ()), strict=False):
                group["lr"] = rate
            for group, dtype in zip(optimizer.param_groups, self.rest["rate_dtypes"], strict=True):
                if dtype is not None:
                    group["lr"] = torch.tensor(float(group["lr"]), dtype=getattr(torch, dtype))
            optimizer.step_with_slopes(slopes.clone())
        optimizer.merge()
        return optimizer

    def _optimizer(self, model: nn.Module) -> ZerothOrderOptimizer:
        named = dict(model.named_parameters())
        unnamed = iter(named.items())
        groups = []
        count = sum(len(recorded["shapes"]) for recorded in self.rest["groups"])
        if len(named) < count:
            raise GraftworkError(f"the model has {len(named)} parameters, the log {count}")
        for number, recorded in enumerate(self.rest["groups"]):
            names = recorded["names"]
            if missing := [name for name in names if name not in named]:
                raise GraftworkError(f"the model has no parameter {missing[0]!r}, which the log has")
            pairs = [(n, named[n]) for n in names] if names else [next(unnamed) for _ in recorded["shapes"]]
            for (name, parameter), shape in zip(pairs, recorded["shapes"], strict=True):
                if list(parameter.shape) != shape:
                    raise GraftworkError(
                        f"parameter {name!r} has shape {tuple(parameter.shape)}, in the log {tuple(shape)}"
                    )
            options = {key: value for key, value in recorded.items() if key not in ("names", "shapes")}
            options |= {"lr": self.rates[0][1][number], "backend": self.rest["backend"]}
            chosen = pairs if names else [parameter for _, parameter in pairs]
            groups.append({"params": chosen, **options})
        return ZerothOrderOptimizer(
            groups,
            accumulate_dtype=self.rest["accumulate_dtype"],
            **{key: groups[0][key] for key in ("interval", "eps", "probes", "seed", "backend")},
        )


def read_log(path: Path) -> RecordedRun:
    """Read a log.

    Args:
        path: as given as ``log_file``.

    Raises:
        GraftworkError: it is no log.
    """
    record = read_logged_steps(path)
    return RecordedRun(record.slopes, record.rates, record.rest)
