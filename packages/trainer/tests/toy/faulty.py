"""A component of every kind that a training takes, each of which fails where a test says."""

from __future__ import annotations

from typing import Annotated

import torch
from graftwork_toy.tasks import Regression
from torch import nn

from graftwork import Choice, Supplies
from graftwork_trainer.options import LoopOptions
from graftwork_trainer.standard import StandardTrainer

WHERE: tuple[str, str] = ("", "")
ERROR: BaseException = ValueError()


def reach(kind: str, method: str) -> None:
    """Fail if it is here."""
    if (kind, method) == WHERE:
        raise type(ERROR)(*ERROR.args)


class Net(nn.Module):
    def __init__(self, inputs, width: int = 4) -> None:
        super().__init__()
        reach("model", "__init__")
        self.one = nn.Linear(inputs, width)
        self.two = nn.Linear(width, 3)

    def forward(self, inputs):
        reach("model", "forward")
        return self.two(self.one(inputs))


class Task(Regression):
    def __init__(self, *, model: Annotated[Choice | str, Supplies("inputs")], batch_size: int = 4) -> None:
        super().__init__(batch_size=batch_size)
        reach("task", "__init__")
        self.net = model

    def build_model(self):
        reach("task", "build_model")
        return self.net(inputs=4)

    def batches(self, split, *, rank, world_size, seed):
        reach("task", "batches")
        return super().batches(split, rank=rank, world_size=world_size, seed=seed)

    def facts(self):
        reach("task", "facts")
        return super().facts()

    def parameter_groups(self, model):
        reach("task", "parameter_groups")
        return [{"params": model.parameters()}]

    def save_assets(self, folder):
        reach("task", "save_assets")

    def loss(self, model, batch):
        reach("task", "loss")
        return super().loss(model, batch)

    def evaluate(self, model):
        reach("task", "evaluate")
        return super().evaluate(model)

    def artefacts(self, model, folder):
        reach("task", "artefacts")

    def predict(self, model, inputs):
        reach("task", "predict")
        return [{"one": 1} for _ in inputs]


class Optimizer(torch.optim.SGD):
    def __init__(self, params, lr: float = 0.1) -> None:
        reach("optimizer", "__init__")
        super().__init__(params, lr=lr)

    def step(self):
        reach("optimizer", "step")
        super().step()

    def state_dict(self):
        reach("optimizer", "state_dict")
        return super().state_dict()


class Trainer(StandardTrainer):
    def __init__(self, *, optimizer: Choice) -> None:
        reach("trainer", "__init__")
        super().__init__(optimizer=optimizer)

    def fit(self, task, recipe, run):
        reach("trainer", "fit")
        return super().fit(task, recipe, run)


class OwnLoop:
    """A trainer with the loop's options that takes its steps by itself."""

    def __init__(self, *, optimizer: Choice, loop: LoopOptions = LoopOptions()) -> None:
        self.optimizer, self.loop = optimizer, loop

    def fit(self, task, recipe, run):
        for step in range(1, 10):
            run.record(step, {"train/loss": 1.0})
        raise ValueError("nobody ended it")


class Callback:
    def __init__(self) -> None:
        reach("callback", "__init__")

    def on_step(self, moment):
        reach("callback", "on_step")

    def on_end(self, moment):
        reach("callback", "on_end")


class Tracker:
    def __init__(self) -> None:
        reach("tracker", "__init__")

    def open(self, run, step, recipe):
        """Nothing to do."""

    def record(self, step, metrics):
        """Nothing to do."""

    def close(self):
        """Nothing to do."""
