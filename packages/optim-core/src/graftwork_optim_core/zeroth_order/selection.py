"""The parameters of a model for a zeroth-order optimizer, with their names."""

from __future__ import annotations

from typing import Any

from torch import nn


def named_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Return a model's trainable parameters with their names; quantized weights in a group of their own.

    A frozen weight counts as quantized if it is of a tensor type of its own, as those of torchao and
    bitsandbytes are, and belongs to a module with ``in_features``.

    Raises:
        ValueError: there is nothing to train.

    >>> [group] = named_groups(nn.Linear(3, 2))
    >>> [name for name, _ in group["params"]]
    ['weight', 'bias']
    """
    trainable = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    quantized = []
    seen: set[int] = set()
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if not hasattr(module, "in_features") or not isinstance(weight, nn.Parameter) or id(weight) in seen:
            continue
        own_type = type(weight) is not nn.Parameter or type(weight.data) is not type(nn.Parameter().data)
        if own_type and not weight.requires_grad and not hasattr(weight, "placements"):
            seen.add(id(weight))
            quantized.append((f"{name}.weight", weight))
    groups: list[dict[str, Any]] = []
    if trainable:
        groups.append({"params": trainable})
    if quantized:
        groups.append({"params": quantized, "additive": True})
    if not groups:
        raise ValueError("the model has no parameter with requires_grad and no quantized weight")
    return groups
