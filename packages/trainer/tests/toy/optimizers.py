"""Optimizers with one oddity each."""

from __future__ import annotations

import torch


class Twice(torch.optim.SGD):
    """Evaluates the gradient twice at the same parameters and keeps both, then steps: variance reduction's
    contract."""

    closure = "gradient"

    def __init__(self, params, lr: float = 0.1) -> None:
        super().__init__(params, lr=lr)
        self.pairs: list[tuple[torch.Tensor, torch.Tensor]] = []

    def attach(self, model):
        self.model = model

    def step(self, closure):
        parameter = self.param_groups[0]["params"][0]
        loss = closure()
        first = parameter.grad.clone()
        closure()
        self.pairs.append((first, parameter.grad.clone()))
        super().step()
        return loss


class Matrices(torch.optim.SGD):
    """Trains matrices alone, and leaves the gradients of all else where they are."""

    def __init__(self, params, lr: float = 0.1) -> None:
        super().__init__([parameter for parameter in params if parameter.ndim == 2], lr=lr)


class Rateless(torch.optim.Optimizer):
    """Calls its learning rate otherwise."""

    def __init__(self, params, lr: float = 0.1) -> None:
        super().__init__(params, {"rate": lr})

    def step(self):
        return


class Early(torch.optim.SGD):
    """Steps each weight as soon as its gradient is complete, if asked to; takes the length of the run."""

    def __init__(self, params, lr: float = 0.1, total_steps: int | None = None) -> None:
        super().__init__(params, lr=lr)
        self.total_steps = total_steps

    def step_in_backward(self, micro_batches):
        self.left = dict.fromkeys(self.param_groups[0]["params"], micro_batches)
        self.micro_batches = micro_batches
        for parameter in self.left:
            parameter.register_post_accumulate_grad_hook(self._complete)

    def _complete(self, parameter):
        self.left[parameter] -= 1
        if not self.left[parameter]:
            parameter.data.sub_(parameter.grad, alpha=self.param_groups[0]["lr"])
            parameter.grad, self.left[parameter] = None, self.micro_batches
