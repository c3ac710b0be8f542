"""Which weights decay, on parameters that need no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from graftwork import Choice, Component, GraftworkError, Kind
from graftwork.component import SHIPPED_KINDS
from graftwork.plugins import Plugin
from graftwork.registry import Entry


@dataclass(eq=False)
class Parameter:
    shape: tuple[int, ...]
    requires_grad: bool = True

    @property
    def ndim(self) -> int:
        return len(self.shape)


class Model:
    def __init__(self) -> None:
        self.named = {
            "embed.weight": Parameter((8, 4)),
            "norm.weight": Parameter((4,)),
            "linear.weight": Parameter((4, 4)),
            "linear.bias": Parameter((4,)),
            "grid.position_bias": Parameter((4, 4)),
            "frozen.weight": Parameter((4, 4), requires_grad=False),
        }

    def named_parameters(self) -> Any:
        return self.named.items()

    def parameters(self) -> Any:
        return self.named.values()


class Optimizer:
    def __init__(self, params: Any, lr: float = 0.1, weight_decay: float = 0.01) -> None:
        self.param_groups = params

    def step(self) -> None: ...
    def zero_grad(self) -> None: ...
    def state_dict(self) -> None: ...
    def load_state_dict(self, state: Any) -> None: ...


class Choosy(Optimizer):
    @staticmethod
    def select_parameters(model: Any) -> Any:
        named = model.named
        return [
            {"params": [named["linear.weight"], named["linear.bias"]], "rank": 2},
            {"params": [("norm.weight", named["norm.weight"])], "weight_decay": 0.5},
        ]


class Plain(Optimizer):
    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params)


def chosen(target: Any, **options: Any) -> Choice:
    kind = next(kind for kind in SHIPPED_KINDS if kind.name == Kind.OPTIMIZER)
    component = Component(kind.name, "one", "module:One", "for tests")
    return Choice(Entry(component, Plugin("p", "d", "1", "m")), kind, target, options)


def named_groups(model: Model, groups: Any) -> list[tuple[list[str], Any]]:
    names = {id(parameter): name for name, parameter in model.named.items()}
    return [([names[id(one)] for one in group["params"]], group.get("weight_decay")) for group in groups]


def test_weights_decay_and_biases_and_norms_do_not() -> None:
    model = Model()
    assert named_groups(model, chosen(Optimizer).for_model(model).param_groups) == [
        (["embed.weight", "linear.weight"], None),
        (["norm.weight", "linear.bias", "grid.position_bias"], 0.0),
    ]


@pytest.mark.parametrize("choice", [chosen(Optimizer, weight_decay=0.0), chosen(Plain)])
def test_nothing_is_split_where_nothing_decays(choice: Choice) -> None:
    model = Model()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert choice.parameters_of(model) == trained


def test_groups_of_the_optimizer_keep_their_settings() -> None:
    model = Model()
    linear, bias, norm = chosen(Choosy).parameters_of(model)
    assert (linear["rank"], linear["params"]) == (2, [model.named["linear.weight"]])
    assert (bias["rank"], bias["params"], bias["weight_decay"]) == (2, [model.named["linear.bias"]], 0.0)
    # One that says how it decays is left as it is.
    assert norm == {"params": [("norm.weight", model.named["norm.weight"])], "weight_decay": 0.5}


def test_groups_of_the_task_go_over_the_optimizers() -> None:
    model = Model()
    head = {"params": [model.named["linear.weight"], model.named["linear.bias"]], "lr": 1.0}
    rest = {"params": [p for n, p in model.named.items() if not n.startswith("linear")], "lr": 0.5}
    groups = chosen(Optimizer).parameters_of(model, [head, rest])
    assert [(group["lr"], len(group["params"]), group.get("weight_decay")) for group in groups] == [
        (0.5, 1, None),
        (0.5, 2, 0.0),
        (1.0, 1, None),
        (1.0, 1, 0.0),
    ]
    with pytest.raises(
        GraftworkError, match=r"must name every parameter that is trained, one of shape \[8, 4\]"
    ):
        chosen(Optimizer).parameters_of(model, [head])
    with pytest.raises(GraftworkError, match="every parameter once, one is in two"):
        chosen(Optimizer).parameters_of(model, [head, rest, head])
