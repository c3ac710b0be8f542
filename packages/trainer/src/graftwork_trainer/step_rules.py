"""What one optimizer step needs, by the optimizer's ``closure`` attribute.

``None``: gradients first, then ``step()``. ``"gradient"``: ``step(closure)``, where the closure computes loss
and gradients at the current parameters. ``"loss"``: ``step(closure)``, where the closure only evaluates the
loss. Every call of a closure within one step sees the same micro-batches and the same random numbers
(dropout).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from graftwork import Task
from graftwork_trainer.parallel import World, gradient_sync, unwrapped
from graftwork_trainer.random_state import RandomState
from graftwork_trainer.timing import Stopwatch


@dataclass(slots=True)
class StepOutcome:
    """What a step leaves for the log, still on the device.

    Args:
        loss: mean over the step's micro-batches, before the update.
        gradient_norm: before clipping; None where there are no gradients.
        metrics: the task's own, of the last micro-batch.
    """

    loss: torch.Tensor
    gradient_norm: torch.Tensor | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class StepRule:
    """One training step, for any of the three kinds of optimizer.

    Args:
        task: computes the loss.
        model: as wrapped for its process group.
        optimizer: its class attribute ``closure`` picks the rule.
        world: where this process stands.
        clip_norm: largest global gradient norm, None for no clipping.
        autocast: returns the context that the loss is computed in.
        stopwatch: times ``optimizer.step`` alone.
    """

    task: Task
    model: nn.Module
    optimizer: torch.optim.Optimizer
    world: World
    clip_norm: float | None
    autocast: Callable[[], AbstractContextManager[Any]]
    stopwatch: Stopwatch

    def __call__(self, micro_batches: Sequence[Any]) -> StepOutcome:
        """Take one step over the micro-batches of this rank."""
        closure = getattr(self.optimizer, "closure", None)
        if closure is None:
            outcome = self._gradients(micro_batches)
            with self.stopwatch:
                self.optimizer.step()
            return outcome
        evaluate = self._losses if closure == "loss" else self._gradients
        first: list[StepOutcome] = []
        start = RandomState.capture(self.world.device)

        def evaluate_again() -> torch.Tensor:
            start.restore()
            outcome = evaluate(micro_batches)
            first.append(outcome)
            return outcome.loss

        with self.stopwatch:
            self.optimizer.step(evaluate_again)  # type: ignore[arg-type]  # torch types it as returning float
        if not first:
            raise RuntimeError(
                f"{type(self.optimizer).__name__} asks for a closure and its step() called none"
            )
        return first[0]

    def _gradients(self, micro_batches: Sequence[Any]) -> StepOutcome:
        self.optimizer.zero_grad(set_to_none=True)
        count = len(micro_batches)
        total = torch.zeros((), device=self.world.device)
        metrics: Mapping[str, Any] = {}
        with torch.enable_grad():
            for index, batch in enumerate(micro_batches):
                with gradient_sync(self.model, enabled=index == count - 1):
                    with self.autocast():
                        loss, metrics = self.task.loss(self.model, batch)
                    (loss / count).backward()
                total += loss.detach() / count
        norm = None
        if self.clip_norm is not None:
            norm = clip_grad_norm_(self.model.parameters(), self.clip_norm)
            norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        return StepOutcome(total, norm, metrics)

    @torch.no_grad()
    def _losses(self, micro_batches: Sequence[Any]) -> StepOutcome:
        total = torch.zeros((), device=self.world.device)
        metrics: Mapping[str, Any] = {}
        model = unwrapped(self.model)
        for batch in micro_batches:
            with self.autocast():
                loss, metrics = self.task.loss(model, batch)
            total += loss.detach() / len(micro_batches)
        # Every rank must step by the same number, or their parameters drift apart.
        return StepOutcome(self.world.mean(total), None, metrics)
