"""What agents neither train nor mix: frozen parameters, which must be the same in all of them.

Where they differ each agent trains another function, and the mean of their weights is a model of none of
them. Buffers may differ: running statistics, observers and moving averages are of each agent's own data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn


def validate_untrained(models: Sequence[nn.Module]) -> None:
    """Refuse agents whose frozen parameters differ.

    Args:
        models: one an agent.

    Raises:
        ValueError: they do.

    >>> still = [nn.Linear(1, 1).requires_grad_(False) for _ in range(2)]
    >>> validate_untrained([still[0], still[0]])
    >>> validate_untrained(still)
    Traceback (most recent call last):
        ...
    ValueError: models must be alike in what they do not train, as it is never mixed; 'bias' of model 1 ...
    """
    first = dict(_untrained(models[0]))
    for agent, model in enumerate(models[1:], start=1):
        own = dict(_untrained(model))
        odd = first.keys() ^ own.keys() or {name for name in first if not _same(first[name], own[name])}
        if odd:
            raise ValueError(
                "models must be alike in what they do not train, as it is never mixed; "
                f"{min(odd)!r} of model {agent} is not that of model 0: begin with copies of one model, or "
                "train it (requires_grad = True)"
            )


def untrained_digest(model: nn.Module) -> str:
    """Equal for models alike in the names and shapes of their parameters, and in what they do not train."""
    total = hashlib.sha256()
    for name, parameter in model.named_parameters():
        total.update(f"{name} {list(parameter.shape)} {parameter.dtype} {parameter.requires_grad} ".encode())
    for name, tensor in _untrained(model):
        total.update(f"{name} {list(tensor.shape)} {tensor.dtype} ".encode())
        total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _untrained(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            yield name, parameter


def _same(one: Tensor, other: Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.is_meta or other.is_meta:
        return True
    # Bits, so that what is not a number is like its copy.
    bits = [tensor.detach().cpu().contiguous().flatten().view(torch.uint8) for tensor in (one, other)]
    return torch.equal(*bits)
