"""Optimizers with one oddity each."""

from __future__ import annotations

import torch
from torch.overrides import TorchFunctionMode


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


class Looking(torch.optim.SGD):
    """Looks at the weights when it is built."""

    def __init__(self, params, lr: float = 0.1) -> None:
        params = list(params)
        super().__init__(params, lr=lr)
        self.first = float(params[0].detach().sum())


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


class _Shown(TorchFunctionMode):
    """Every function that uses a weight of an optimizer gets it one larger, a copy."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        super().__init__()
        self.weights = {id(one) for group in optimizer.param_groups for one in group["params"]}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        whole = [one.data + 1 if id(one) in self.weights else one for one in args]
        return func(*(args if func is torch.Tensor.data.__get__ else whole), **(kwargs or {}))


class Beside(torch.optim.SGD):
    """Evaluates at other weights than it trains at, without writing them: as if movement lay beside them."""

    def __init__(self, params, lr: float = 0.1) -> None:
        super().__init__(params, lr=lr)
        self._shown = None

    def eval(self):
        if self._shown is None:
            self._shown = _Shown(self)
            self._shown.__enter__()

    def train(self):
        if self._shown is not None:
            self._shown.__exit__(None, None, None)
            self._shown = None
