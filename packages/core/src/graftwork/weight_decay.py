"""Which weights decay: one rule for every trainer and adapter.

Weights of two and more dimensions decay. Biases, and everything with fewer dimensions (the scales of norms),
do not: pulling them to zero regularizes nothing. It is timm's rule. A group that states a ``weight_decay`` of
its own keeps it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any


def spared(name: str, parameter: Any) -> bool:
    """Whether weight decay leaves a parameter alone.

    Args:
        name: dotted, as the model names it.
        parameter: a tensor.
    """
    return parameter.ndim <= 1 or name.rpartition(".")[2].endswith("bias")


def split_by_decay(groups: Iterable[Mapping[str, Any]], model: Any) -> list[dict[str, Any]]:
    """Give what is spared a group of its own, with ``weight_decay`` 0.

    Args:
        groups: of an optimizer over the model's parameters.
        model: names them.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    split: list[dict[str, Any]] = []
    for group in groups:
        if "weight_decay" in group:
            split.append(dict(group))
            continue
        parts: tuple[list[Any], list[Any]] = ([], [])
        for member in group["params"]:
            # torch takes named parameters as pairs too.
            name, parameter = member if isinstance(member, tuple) else (names.get(id(member), ""), member)
            parts[spared(name, parameter)].append(member)
        decayed, left = parts
        if decayed:
            split.append({**group, "params": decayed})
        if left:
            split.append({**group, "params": left, "weight_decay": 0.0})
    return split


def combined(
    own: Iterable[Mapping[str, Any]], of_task: Iterable[Mapping[str, Any]], check: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Lay a task's groups over an optimizer's: a group for every pair that has parameters in common.

    Args:
        own: the optimizer's, whose settings win.
        of_task: what a task's ``parameter_groups`` gave.
        check: refuses the name of a setting that the optimizer does not have.

    Raises:
        ValueError: a parameter of the optimizer is in no group of the task, or in two.
    """
    homes: dict[int, int] = {}
    settings = []
    for number, group in enumerate(of_task):
        settings.append({key: value for key, value in group.items() if key != "params"})
        for key in settings[-1]:
            check(key)
        for member in group["params"]:
            parameter = member[1] if isinstance(member, tuple) else member
            if homes.setdefault(id(parameter), number) != number:
                raise ValueError("parameter_groups of the task must name every parameter once, one is in two")
    pairs: list[dict[str, Any]] = []
    for group in own:
        parts: dict[int, list[Any]] = {}
        for member in group["params"]:
            parameter = member[1] if isinstance(member, tuple) else member
            if id(parameter) not in homes:
                raise ValueError(
                    "parameter_groups of the task must name every parameter that is trained, one of shape "
                    f"{list(parameter.shape)} is in none"
                )
            parts.setdefault(homes[id(parameter)], []).append(member)
        pairs += [{**settings[number], **group, "params": members} for number, members in parts.items()]
    return pairs
