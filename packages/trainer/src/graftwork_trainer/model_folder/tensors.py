"""The tensors of a model as others load them: whole, on the CPU, and with low-rank adapters merged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

_BASE = "base_layer"


@torch.no_grad()
def whole_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's tensors by name; where it is spread over ranks, every rank calls it.

    What is no tensor in a state dict is left out. An adapter of peft's is added to the weight that it adapts,
    so that the plain model computes the same up to rounding, and whoever loads it needs no peft.
    """
    adapted = {f"{name}.": module for name, module in model.named_modules() if _is_adapter(module)}
    tensors: dict[str, Tensor] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if isinstance(value, Tensor):
            prefix = next((prefix for prefix in adapted if name.startswith(prefix)), None)
            if prefix is None:
                tensors[name] = _whole(value)
            elif (inside := name.removeprefix(prefix)).startswith(f"{_BASE}."):
                inside = inside.removeprefix(f"{_BASE}.")
                merged = _merged(adapted[prefix], value) if inside == "weight" else value
                tensors[f"{prefix}{inside}"] = _whole(merged)
    return tensors


def without_twins(
    model: nn.Module, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Those of a model's tensors that a safetensors file can hold, and the first name of each other one.

    Tensors that are one in the model are written once; ``safetensors.torch.load_model`` finds the other names
    in the file's metadata.
    """
    first: dict[int, str] = {}
    twins = {
        name: known
        for name, value in model.state_dict(keep_vars=True).items()
        if (known := first.setdefault(id(value), name)) != name and name in tensors
    }
    kept = {name: _alone(tensor) for name, tensor in tensors.items() if name not in twins}
    return kept, twins


def _alone(tensor: Tensor) -> Tensor:
    """With memory of its own, in order."""
    contiguous = tensor.contiguous()
    alone = contiguous.untyped_storage().nbytes() == contiguous.numel() * contiguous.element_size()
    return contiguous if alone else contiguous.clone()


def _is_adapter(module: Any) -> bool:
    return (
        hasattr(module, _BASE) and hasattr(module, "get_delta_weight") and hasattr(module, "active_adapters")
    )


def _merged(layer: Any, weight: Tensor) -> Tensor:
    deltas: Iterator[Tensor] = (layer.get_delta_weight(adapter) for adapter in layer.active_adapters)
    return sum((delta.to(weight.dtype) for delta in deltas), start=weight)


def _whole(value: Tensor) -> Tensor:
    detached = value.detach()
    return (detached.full_tensor() if isinstance(detached, DTensor) else detached).cpu()
