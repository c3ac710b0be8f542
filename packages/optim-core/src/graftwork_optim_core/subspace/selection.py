"""Which weights are transformed: chosen by module type and qualified name, with the names kept."""

from __future__ import annotations

import logging
import re
import warnings
from typing import Any, Literal

import torch
from torch import nn

_LOGGER = logging.getLogger(__name__)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def param_groups(
    model: nn.Module,
    match: tuple[str, ...] | str = ("attn", "mlp"),
    exclude: tuple[str, ...] | str = (),
    convolutions: bool = False,
    report: Literal["print", "log", "off"] = "print",
) -> list[dict[str, Any]]:
    """Split a model's trainable parameters into those to transform and those for the plain host.

    Transformed are the weights of ``nn.Linear`` modules whose qualified name matches. A weight that several
    modules share appears once, and is transformed only if all of them match: a head tied to an embedding
    stays plain.

    Args:
        model: the model; its parameters may be sharded already.
        match: parts of module names, any of which must occur; a string is a regular expression searched for
            in the name, and "all-linear" matches every linear module.
        exclude: in the same form as match (parts of names, or a regular expression); takes modules out again.
        convolutions: also transform the weights of matching convolutions, each as (out, in * kernel size).
        report: where to say how many parameters are transformed: "print" (of several processes the first),
            "log" (level INFO) or "off".

    Returns:
        At most two groups of named parameters in the model's order: the transformed ones, then the others
        with ``plain=True``.

    Raises:
        ValueError: nothing matches.

    >>> model = nn.ModuleDict({"mlp": nn.Linear(8, 4), "head": nn.Linear(4, 2)})
    >>> transformed, plain = param_groups(model)
    1 of 4 tensors transformed: 32 of 46 parameters (69.6%)
    >>> [name for name, _ in transformed["params"]], [name for name, _ in plain["params"]]
    (['mlp.weight'], ['mlp.bias', 'head.weight', 'head.bias'])
    """
    if report not in ("print", "log", "off"):
        raise ValueError(f"report must be 'print', 'log' or 'off', got {report!r}")
    wanted: tuple[type[nn.Module], ...] = (nn.Linear, *_CONVOLUTIONS) if convolutions else (nn.Linear,)
    chosen = _chosen_weights(model, match, exclude, wanted)
    transformed: list[tuple[str, nn.Parameter]] = []
    plain: list[tuple[str, nn.Parameter]] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (transformed if id(parameter) in chosen else plain).append((name, parameter))
    if not transformed:
        raise ValueError(
            f"match={match!r} with exclude={exclude!r} selects no trainable weight of this model: "
            "match must be parts of module names, a regular expression or 'all-linear'"
        )
    count = sum(parameter.numel() for _, parameter in transformed)
    total = count + sum(parameter.numel() for _, parameter in plain)
    message = (
        f"{len(transformed)} of {len(transformed) + len(plain)} tensors transformed: "
        f"{count:,} of {total:,} parameters ({count / total:.1%})"
    )
    if report == "print" and _is_first_process():
        print(message)
    elif report == "log":
        _LOGGER.info(message)
    groups: list[dict[str, Any]] = [{"params": transformed}, {"params": plain, "plain": True}]
    return [group for group in groups if group["params"]]


def _is_first_process() -> bool:
    initialized = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not initialized or torch.distributed.get_rank() == 0


def _chosen_weights(
    model: nn.Module,
    match: tuple[str, ...] | str,
    exclude: tuple[str, ...] | str,
    wanted: tuple[type[nn.Module], ...],
) -> set[int]:
    chosen: set[int] = set()
    refused: set[int] = set()
    for name, module in model.named_modules(remove_duplicate=False):
        is_wanted = isinstance(module, wanted)
        # "all-linear" names a type, so that a module of another type was not asked for.
        asked = is_wanted if match == "all-linear" else _matches(name, match)
        asked = asked and not _matches(name, exclude)
        for parameter_name, parameter in module.named_parameters(recurse=False):
            if asked and is_wanted and parameter_name == "weight":
                chosen.add(id(parameter))
                continue
            refused.add(id(parameter))
            if asked and not is_wanted and parameter.ndim > 1:
                warnings.warn(
                    f"{name}.{parameter_name} is matched but not transformed: "
                    f"{type(module).__name__} is none of {', '.join(kind.__name__ for kind in wanted)}",
                    stacklevel=3,
                )
    return chosen - refused


def _matches(name: str, patterns: tuple[str, ...] | str) -> bool:
    if isinstance(patterns, str):
        return bool(patterns) and re.search(patterns, name) is not None
    return any(part in name for part in patterns)
