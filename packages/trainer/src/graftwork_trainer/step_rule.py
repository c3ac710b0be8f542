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

import inspect
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_, get_total_norm

from graftwork import GraftworkError, Task
from graftwork_trainer.evaluation import modules_in_evaluation_mode
from graftwork_trainer.options import GradientOptions
from graftwork_trainer.parallel import (
    World,
    forget_gathered,
    gradient_sync,
    refuse_without_gradient,
    unwrapped,
)
from graftwork_trainer.procedure import StepOutcome
from graftwork_trainer.random_state import RandomState
from graftwork_trainer.task_members import loss_of
from graftwork_trainer.timing import Stopwatch


@dataclass(slots=True)
class StepRule:
    """One training step, for any of the three kinds of optimizer.

    Args:
        task: computes the loss.
        model: as wrapped for its process group.
        optimizer: its class attribute ``closure`` picks the rule.
        world: where this process stands.
        options: clipping, precision, and whether a closure that only evaluates the loss has dropout.
        stopwatch: times ``optimizer.step`` alone, where there is one.
    """

    task: Task
    model: nn.Module
    optimizer: torch.optim.Optimizer
    world: World
    options: GradientOptions
    stopwatch: Stopwatch | None = None

    def __post_init__(self) -> None:
        refuse_unsaid_closure(self.optimizer)

    def __call__(self, micro_batches: Sequence[Any]) -> StepOutcome:
        """Take one step over the micro-batches of this rank."""
        closure = self.closure(micro_batches)
        if closure is None:
            outcome = self.gradients(micro_batches)
            with self._timed():
                self.optimizer.step()
            return outcome
        with self._timed(), closure.mode():
            # torch types closure and return value as floats
            stepped: Any = self.optimizer.step(closure)  # type: ignore[arg-type]
        return closure.outcome(stepped)

    def closure(self, micro_batches: Sequence[Any]) -> StepClosure | None:
        """What the optimizer's ``step`` must be given for these micro-batches; None where it is nothing."""
        kind = getattr(self.optimizer, "closure", None)
        return None if kind is None else StepClosure(self, micro_batches, kind)

    def _timed(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.stopwatch is None else self.stopwatch

    def gradients(self, micro_batches: Sequence[Any]) -> StepOutcome:
        """Leave the clipped gradients of these micro-batches in ``.grad``."""
        self.optimizer.zero_grad(set_to_none=True)
        # Of weights that it does not train, too: they would add up over steps, and count for clipping.
        self.model.zero_grad(set_to_none=True)
        count = len(micro_batches)
        total = torch.zeros((), device=self.world.device)
        metrics: Mapping[str, Any] = {}
        with torch.enable_grad():
            for index, batch in enumerate(micro_batches):
                with gradient_sync(self.model, enabled=index == count - 1):
                    with self.options.autocast(self.world.device):
                        loss, metrics = loss_of(self.task, self.model, batch)
                    if not loss.requires_grad:
                        raise GraftworkError(
                            f"the loss of {type(self.task).__name__} depends on no trained weight: it has no "
                            "gradient"
                        )
                    (loss / count).backward()  # type: ignore[no-untyped-call]
                total += loss.detach() / count
        if self.world.strategy == "ddp":
            refuse_without_gradient(self.model)
        if self.options.clip_norm is not None:
            norm = clip_grad_norm_(self.model.parameters(), self.options.clip_norm)
        else:
            gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
            norm = get_total_norm([g.coalesce().values() if g.is_sparse else g for g in gradients])
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        return StepOutcome(total, norm, metrics)

    @torch.no_grad()
    def losses(self, micro_batches: Sequence[Any]) -> StepOutcome:
        """Evaluate the loss of these micro-batches, without gradients."""
        total = torch.zeros((), device=self.world.device)
        metrics: Mapping[str, Any] = {}
        model = unwrapped(self.model)
        for batch in micro_batches:
            with self.options.autocast(self.world.device):
                loss, metrics = loss_of(self.task, model, batch)
            total += loss.detach() / len(micro_batches)
        forget_gathered(model)
        if data_parallel_of(self.optimizer) is None:
            total = self.world.mean(total)
        return StepOutcome(total, None, metrics)


def refuse_unsaid_closure(optimizer: torch.optim.Optimizer) -> None:
    """Refuse an optimizer that must be given a closure and does not say which.

    Raises:
        GraftworkError: it is one.
    """
    asked = inspect.signature(type(optimizer).step).parameters.get("closure")
    wants = asked is not None and asked.default is asked.empty
    if wants and getattr(optimizer, "closure", None) is None:
        raise GraftworkError(
            f"{type(optimizer).__name__}.step() must be given a closure, and the class does not say which: "
            "register one whose attribute closure is 'gradient' or 'loss'"
        )


class StepClosure:
    """What an optimizer calls, once or more, within one step; and what the step then came to.

    Args:
        rule: computes losses and gradients.
        micro_batches: of the step.
        kind: ``"loss"`` or ``"gradient"``.
    """

    def __init__(self, rule: StepRule, micro_batches: Sequence[Any], kind: str) -> None:
        self._rule, self._micro_batches, self._kind = rule, micro_batches, kind
        self._in_evaluation_mode = kind == "loss" and not rule.options.dropout_in_closure
        self._start = RandomState.capture(rule.world.device)
        self._outcomes: list[StepOutcome] = []

    def __call__(self) -> torch.Tensor:
        """Compute the loss, and gradients where they are wanted, at the current parameters."""
        self._start.restore()
        rule = self._rule
        evaluate = rule.losses if self._kind == "loss" else rule.gradients
        outcome = evaluate(self._micro_batches)
        self._outcomes.append(outcome)
        return outcome.loss

    def mode(self) -> AbstractContextManager[None]:
        """The context for the optimizer's ``step``, which may run the model without the closure, too."""
        return modules_in_evaluation_mode(self._rule.model) if self._in_evaluation_mode else nullcontext()

    def outcome(self, stepped: Any) -> StepOutcome:
        """Return what the log wants to know.

        Args:
            stepped: what the optimizer's ``step`` returned.

        Raises:
            RuntimeError: the optimizer did not call the closure.
        """
        if not self._outcomes:
            name = type(self._rule.optimizer).__name__
            raise RuntimeError(f"{name} asks for a closure and its step() called none")
        # Which evaluation was of the step's own point, the optimizer knows: variance reduction looks back
        # first.
        outcome = next((one for one in self._outcomes if one.loss is stepped), self._outcomes[0])
        if self._kind == "loss" and stepped is not None:
            # None of them may be: both ends of a difference are perturbed.
            outcome.loss = torch.as_tensor(stepped, device=self._rule.world.device, dtype=outcome.loss.dtype)
        return outcome


def data_parallel_of(optimizer: torch.optim.Optimizer) -> str | None:
    """``"average"`` or ``"probes"`` where the optimizer shares its work among ranks itself, else None."""
    chosen = getattr(optimizer, "data_parallel", None)
    return chosen if chosen in ("average", "probes") else None
