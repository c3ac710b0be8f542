"""Lion: every weight moves by the learning rate, up or down as the sign of its momentum says.

Algorithm 2 of arXiv:2302.06675. For a weight ``w`` with gradient ``g`` and momentum ``m`` (zero at first)::

    c = beta1 * m + (1 - beta1) * g
    w = w - lr * (sign(c) + weight_decay * w)
    m = beta2 * m + (1 - beta2) * g
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, overload

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT


class Lion(torch.optim.Optimizer):
    """Step by the sign of an interpolated momentum, with decoupled weight decay.

    Args:
        params: as for any ``torch.optim.Optimizer``.
        lr: learning rate, 0 or more: how far every weight moves in a step; a tensor of one element is read at
            every step. The paper advises a third to a tenth of AdamW's.
        betas: share of the momentum in the direction of a step, and its decay from step to step, each in
            [0, 1).
        weight_decay: decoupled decay per unit of ``lr``, 0 or more. The paper advises three to ten times
            AdamW's.
        maximize: climb instead of descend.

    Raises:
        ValueError: an option is out of its range, or a parameter is complex.

    >>> weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    >>> optimizer = Lion([weight], lr=0.5)
    >>> weight.grad = torch.tensor([0.001, -30.0])
    >>> optimizer.step()
    >>> weight.tolist()
    [0.5, -1.5]
    """

    # What step() must be given: nothing, the gradients lie in .grad. The others are "loss" and "gradient".
    closure: Literal["loss", "gradient"] | None = None

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, options)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group and make its state.

        Raises:
            ValueError: an option is out of its range, or a parameter is complex.
        """
        _check({**self.defaults, **param_group})
        super().add_param_group(param_group)
        # Made here and not in the first step: asked for the state dict of an optimizer without state,
        # torch.distributed.checkpoint would take a step to get some.
        for parameter in self.param_groups[-1]["params"]:
            if parameter.is_complex():
                self.param_groups.pop()
                raise ValueError(f"parameters must be real, which have a sign, got one of {parameter.dtype}")
            self.state[parameter]["momentum"] = torch.zeros_like(
                parameter, memory_format=torch.preserve_format
            )

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Make one step with the gradients in ``.grad``.

        Args:
            closure: evaluates the model again and returns the loss; called once, with gradients enabled.

        Returns:
            The closure's loss, or None.

        Raises:
            ValueError: a gradient is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    _update(parameter, self.state[parameter]["momentum"], group)
        return loss


def _update(parameter: Tensor, momentum: Tensor, group: Mapping[str, Any]) -> None:
    gradient = parameter.grad
    assert gradient is not None
    if gradient.is_sparse:
        raise ValueError("Lion takes dense gradients only (sparse=False in torch.nn.Embedding)")
    if group["maximize"]:
        gradient = -gradient
    lr, (share, decay) = group["lr"], group["betas"]
    if isinstance(lr, Tensor):
        lr = lr.reshape(())
    direction = momentum.lerp(gradient, 1 - share).sign_()
    parameter.mul_(1 - lr * group["weight_decay"]).sub_(direction.mul_(lr))
    momentum.lerp_(gradient, 1 - decay)


def _check(options: Mapping[str, Any]) -> None:
    lr, betas, weight_decay = options["lr"], options["betas"], options["weight_decay"]
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError(f"lr must be a number or a tensor of one element, got shape {tuple(lr.shape)}")
    if not 0 <= float(lr) < math.inf:
        raise ValueError(f"lr must be 0 or more, got {float(lr)}")
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas must be two numbers in [0, 1), got {betas}")
    if not 0 <= weight_decay < math.inf:
        raise ValueError(f"weight_decay must be 0 or more, got {weight_decay}")
