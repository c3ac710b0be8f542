"""Per-parameter mode: each weight makes its step in the backward pass, and its gradient is freed at once.

The gradients of the whole model then never exist together (as in the per-layer updates of GaLore,
arXiv:2403.03507, section 4.3). With gradient accumulation they do until the last micro-batch, in which each
weight steps as soon as its sum is complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from graftwork_optim_core.common.ranges import require_positive, require_whole


class StepInBackward:
    """Hooks that let parameters step as soon as their gradients are complete.

    Made by :meth:`~graftwork_optim_core.SubspaceOptimizer.step_in_backward`.

    Args:
        parameters: of an optimizer.
        step: makes the step of one of them, with the gradient in its ``.grad``.
        forget: told of these hooks when they are removed.
        micro_batches: backward passes whose gradients one step sums, 1 or more.
        max_norm_each: clip each weight's gradient to this norm; none clips nothing.

    Raises:
        ValueError: an option is out of its range; or, in a backward pass, it is one too many since the last
            ``step()``.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        step: Callable[[Tensor], None],
        forget: Callable[[StepInBackward], None],
        *,
        micro_batches: int = 1,
        max_norm_each: float | None = None,
    ) -> None:
        require_whole("micro_batches", micro_batches, 1)
        if max_norm_each is not None:
            require_positive("max_norm_each", max_norm_each)
        self.micro_batches, self.max_norm_each = micro_batches, max_norm_each
        self._step, self._forget = step, forget
        self._passes: dict[Tensor, int] = {}
        self._handles: list[RemovableHandle] = []
        self.attach(parameters)

    def attach(self, parameters: Iterable[Tensor]) -> None:
        """Let further parameters step in the backward pass; frozen ones are left alone."""
        for parameter in parameters:
            if parameter.requires_grad:
                hook = parameter.register_post_accumulate_grad_hook(self._on_gradient)  # type: ignore[no-untyped-call]
                self._handles.append(hook)

    def _on_gradient(self, parameter: Tensor) -> None:
        self._passes[parameter] = self._passes.get(parameter, 0) + 1
        if self._passes[parameter] > self.micro_batches:
            # Its step is made: this gradient would be added to the next one's, or make a second step.
            raise ValueError(
                f"a weight of shape {tuple(parameter.shape)} got a gradient from more backward passes than "
                f"micro_batches={self.micro_batches}: call step() after so many of them, or give their "
                "number to step_in_backward"
            )
        if self._passes[parameter] == self.micro_batches:
            self.clip(parameter)
            self._step(parameter)
            parameter.grad = None

    def clip(self, parameter: Tensor) -> None:
        """Clip one gradient by its own norm."""
        if self.max_norm_each is not None:
            torch.nn.utils.clip_grad_norm_([parameter], self.max_norm_each)

    def finish(self, parameters: Iterable[Tensor]) -> None:
        """End a step: weights that took no part in every backward pass have a gradient left to step with.

        Args:
            parameters: of the optimizer, those added since and the frozen ones too.
        """
        for parameter in parameters:
            if parameter.grad is not None:
                self.clip(parameter)
        self._passes.clear()

    def remove(self) -> None:
        """Go back to steps of the whole model in ``step()``."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._forget(self)
