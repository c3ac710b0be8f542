"""Nested training state as strict JSON: tensors are taken out by name, and what is no plain data is refused.

Plain values stand for themselves. What JSON has no word for is an object with one key that begins with ``$``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graftwork import GraftworkError
from graftwork_trainer.checkpoint.geometry import is_sharded

Encoded = Any
"""What :func:`json.dumps` takes with ``allow_nan=False``."""


def encode(value: Any, name: str, tensors: MutableMapping[str, Tensor]) -> Encoded:
    """Return a value as strict JSON data.

    Args:
        value: tensors, numbers, strings, None, dtypes, and lists, tuples and dictionaries of these.
        name: of the value, and the beginning of the names of tensors in it.
        tensors: takes those with a dimension or more.

    Raises:
        GraftworkError: it holds something else; the message names it.

    >>> taken = {}
    >>> encode({"moment": torch.ones(2), "beta": 0.9, "best": math.inf}, "state", taken)
    {'moment': {'$tensor': 'state/moment'}, 'beta': 0.9, 'best': {'$float': 'inf'}}
    >>> list(taken)
    ['state/moment']
    """
    if value is None or type(value) in (bool, int, str):
        return value
    if isinstance(value, Tensor):
        return _encode_tensor(value, name, tensors)
    if isinstance(value, np.bool_ | np.number) and not isinstance(value.item(), np.generic):
        return {"$numpy": [value.dtype.name, encode(value.item(), name, tensors)]}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": str(float(value))}
    if isinstance(value, complex):
        return {"$complex": [encode(part, name, tensors) for part in (value.real, value.imag)]}
    if isinstance(value, torch.dtype):
        return {"$dtype": str(value).removeprefix("torch.")}
    if isinstance(value, Mapping):
        return _encode_mapping(value, name, tensors)
    if isinstance(value, list | tuple):
        items = [encode(item, f"{name}/{number}", tensors) for number, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    raise GraftworkError(
        f"{name} is {_described(value)}, which a checkpoint cannot hold; it holds tensors, numbers, strings, "
        "None, and lists, tuples and dictionaries of these"
    )


def decode(data: Encoded, tensor: Callable[[str], Tensor], rank: int = 0) -> Any:
    """Return what :func:`encode` was given.

    Args:
        data: as encoded, and maybe merged over processes.
        tensor: reads a tensor by its name.
        rank: whose values are wanted, where processes have different ones.
    """
    if isinstance(data, list):
        return [decode(item, tensor, rank) for item in data]
    if not isinstance(data, dict):
        return data
    tag = next(iter(data), "")
    if not tag.startswith("$"):
        return {key: decode(value, tensor, rank) for key, value in data.items()}
    content = data[tag]
    match tag:
        case "$tensor":
            return tensor(content)
        case "$ordered":
            return _laid_out(decode(content[1], tensor, rank), content[0])
        case "$scalar":
            return torch.tensor(decode(content[1], tensor), dtype=dtype_called(content[0]))
        case "$float":
            return float(content)
        case "$complex":
            return complex(*(decode(part, tensor) for part in content))
        case "$numpy":
            return np.dtype(content[0]).type(decode(content[1], tensor))
        case "$dtype":
            return dtype_called(content)
        case "$tuple":
            return tuple(decode(item, tensor, rank) for item in content)
        case "$items":
            return {_key(key): decode(value, tensor, rank) for key, value in content}
        case "$ranks":
            return decode(content[str(rank)], tensor, rank)
    raise ValueError(f"unknown kind of value {tag!r}")


def dtype_called(name: str) -> torch.dtype:
    """The dtype of a name, without ``torch.``.

    Raises:
        ValueError: there is none of the name.
    """
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise ValueError(f"{name!r} is no dtype")
    return found


def merge(parts: Mapping[int, Encoded]) -> Encoded:
    """Return one tree for those of several processes: what they have in common once, the rest by rank.

    Args:
        parts: encoded, by rank.

    >>> merge({0: {"lr": 0.1, "own": {"0": 1}}, 1: {"lr": 0.1, "own": {"1": 2}}})
    {'lr': 0.1, 'own': {'0': 1, '1': 2}}
    >>> merge({0: {"seed": 1}, 1: {"seed": 2}})
    {'seed': {'$ranks': {'0': 1, '1': 2}}}
    """
    first = next(iter(parts.values()))
    if all(part == first for part in parts.values()):
        return first
    if all(isinstance(part, dict) and not next(iter(part), "").startswith("$") for part in parts.values()):
        keys = dict.fromkeys(key for part in parts.values() for key in part)
        return {key: merge({rank: part[key] for rank, part in parts.items() if key in part}) for key in keys}
    return {"$ranks": {str(rank): part for rank, part in parts.items()}}


def _encode_tensor(value: Tensor, name: str, tensors: MutableMapping[str, Tensor]) -> Encoded:
    if value.layout is not torch.strided or value.is_quantized or value.is_meta:
        kind = "on the meta device" if value.is_meta else str(value.layout).removeprefix("torch.")
        raise GraftworkError(
            f"{name} is a tensor that is {'quantized' if value.is_quantized else kind}, which a checkpoint "
            "cannot hold; a buffer that need not be kept can be registered with persistent=False"
        )
    if value.ndim == 0:
        local = value.to_local() if hasattr(value, "to_local") else value
        return {"$scalar": [str(value.dtype).removeprefix("torch."), encode(local.item(), name, tensors)]}
    if name in tensors:
        raise GraftworkError(f"{name} would stand in the checkpoint twice; two names in it must not be alike")
    tensors[name] = value.detach()
    order = _order_in_memory(value)
    return {"$tensor": name} if order is None else {"$ordered": [order, {"$tensor": name}]}


def _order_in_memory(value: Tensor) -> list[int] | None:
    """The dimensions of a tensor, the one with the largest stride first; None where that is as they are.

    Sums and products of the same numbers in another order have other last bits.
    """
    if is_sharded(value) or value.is_contiguous() or 0 in value.stride():
        return None
    strides = value.stride()
    order = sorted(range(value.ndim), key=lambda dimension: -strides[dimension])
    return None if order == list(range(value.ndim)) else order


def _laid_out(value: Tensor, order: list[int]) -> Tensor:
    if is_sharded(value):  # was whole when it was written
        return value
    return torch.empty_permuted(value.shape, order, dtype=value.dtype, device=value.device).copy_(value)


def _encode_mapping(value: Mapping[Any, Any], name: str, tensors: MutableMapping[str, Tensor]) -> Encoded:
    entries = {key: encode(inner, f"{name}/{key}", tensors) for key, inner in value.items()}
    if all(isinstance(key, str) and not key.startswith("$") for key in entries):
        return entries
    return {"$items": [[_encode_key(key, name, value), inner] for key, inner in entries.items()]}


def _encode_key(key: Any, name: str, mapping: Mapping[Any, Any]) -> Encoded:
    encoded = encode(key, f"a key of {name}", {})
    if _key(encoded) not in mapping:  # a tensor, which is itself and no other
        raise GraftworkError(
            f"a key of {name} is {_described(key)}, which would not be found again; keys in a checkpoint are "
            "numbers, strings, None, and tuples of these"
        )
    return encoded


def _key(data: Encoded) -> Any:
    return decode(data, lambda name: torch.empty(0))


def _described(value: Any) -> str:
    kind = type(value)
    return (
        f"a {kind.__name__}" if kind.__module__ == "builtins" else f"a {kind.__module__}.{kind.__qualname__}"
    )
