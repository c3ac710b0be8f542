"""What one optimizer step needs, by the optimizer's ``closure`` attribute.

``None``: gradients first, then ``step()``. ``"gradient"``: ``step(closure)``, where the closure computes loss
and gradients at the current parameters. ``"loss"``: ``step(closure)``, where the closure only evaluates the
loss, in evaluation mode unless the trainer says otherwise. Every call of a closure within one step sees the
same micro-batches and the same random numbers (dropout).

The closure of the last kind returns the mean over ranks, so that every rank steps by the same number. An
optimizer whose ``data_parallel`` is ``"average"`` (it averages what it makes of the losses itself) or
``"probes"`` (ranks try different directions on one batch) is given the rank's own loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from graftwork import Task
from graftwork_trainer.parallel import World, forget_gathered, gradient_sync, unwrapped
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
        dropout_in_closure: whether a closure that only evaluates the loss does so in training mode.
    """

    task: Task
    model: nn.Module
    optimizer: torch.optim.Optimizer
    world: World
    clip_norm: float | None
    autocast: Callable[[], AbstractContextManager[Any]]
    stopwatch: Stopwatch
    dropout_in_closure: bool = False

    def __call__(self, micro_batches: Sequence[Any]) -> StepOutcome:
        """Take one step over the micro-batches of this rank."""
        closure = getattr(self.optimizer, "closure", None)
        if closure is None:
            outcome = self._gradients(micro_batches)
            with self.stopwatch:
                self.optimizer.step()
            return outcome
        evaluate = self._losses if closure == "loss" else self._gradients
        in_evaluation_mode = closure == "loss" and not self.dropout_in_closure
        outcomes: list[StepOutcome] = []
        start = RandomState.capture(self.world.device)

        def evaluate_again() -> torch.Tensor:
            start.restore()
            outcome = evaluate(micro_batches)
            outcomes.append(outcome)
            return outcome.loss

        with self.stopwatch, _evaluation_mode(self.model) if in_evaluation_mode else nullcontext():
            # torch types closure and return value as floats
            stepped: Any = self.optimizer.step(evaluate_again)  # type: ignore[arg-type]
        if not outcomes:
            raise RuntimeError(
                f"{type(self.optimizer).__name__} asks for a closure and its step() called none"
            )
        # Which evaluation was of the step's own point, the optimizer knows: variance reduction looks back
        # first.
        outcome = next((one for one in outcomes if one.loss is stepped), outcomes[0])
        if closure == "loss" and stepped is not None:
            # None of them may be: both ends of a difference are perturbed.
            outcome.loss = torch.as_tensor(stepped, device=self.world.device, dtype=outcome.loss.dtype)
        return outcome

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
        forget_gathered(model)
        if data_parallel_of(self.optimizer) is None:
            total = self.world.mean(total)
        return StepOutcome(total, None, metrics)


def data_parallel_of(optimizer: torch.optim.Optimizer) -> str | None:
    """``"average"`` or ``"probes"`` where the optimizer shares its work among ranks itself, else None."""
    chosen = getattr(optimizer, "data_parallel", None)
    return chosen if chosen in ("average", "probes") else None


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
