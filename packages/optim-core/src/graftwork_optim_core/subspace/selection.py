"""Which weights are transformed: chosen by module type and qualified name, with the names kept."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

_LOGGER = logging.getLogger(__name__)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_PUBLISHED = ("attn", "mlp")


def param_groups(
    model: nn.Module,
    match: tuple[str, ...] | str = "auto",
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
            in the name, "all-linear" matches every linear module, and "auto" is the published rule, modules
            called attn or mlp. In a model without any, "auto" matches the hidden layers: every linear module
            but the last, or the only one.
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
    rule, note = _rule_of(match, model, wanted)
    chosen = _chosen_weights(model, rule, exclude, wanted)
    transformed: list[tuple[str, nn.Parameter]] = []
    plain: list[tuple[str, nn.Parameter]] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (transformed if id(parameter) in chosen else plain).append((name, parameter))
    if not transformed:
        raise ValueError(
            f"match={match!r} with exclude={exclude!r} selects no trainable weight of this model: "
            "match must be parts of module names, a regular expression, 'all-linear' or 'auto', and "
            "convolutions must be True for weights of convolutions"
        )
    count = sum(parameter.numel() for _, parameter in transformed)
    total = count + sum(parameter.numel() for _, parameter in plain)
    message = (
        f"{len(transformed)} of {len(transformed) + len(plain)} tensors transformed: "
        f"{count:,} of {total:,} parameters ({count / total:.1%}){note}"
    )
    if report == "print" and _is_first_process():
        print(message)
    elif report == "log":
        _LOGGER.info(message)
    groups: list[dict[str, Any]] = [{"params": transformed}, {"params": plain, "plain": True}]
    return [group for group in groups if group["params"]]


def _rule_of(
    match: tuple[str, ...] | str, model: nn.Module, wanted: tuple[type[nn.Module], ...]
) -> tuple[Callable[[str, bool], bool], str]:
    """Return whether a module is asked for, by its name and whether it is of a wanted type, and a note."""
    # These two name types, so that a module of another type was not asked for.
    if match == "all-linear":
        return lambda name, is_wanted: is_wanted, ""
    if match != "auto":
        return lambda name, is_wanted: _matches(name, match), ""
    every = model.named_modules(remove_duplicate=False)
    layers = [name for name, module in every if isinstance(module, wanted)]
    if not layers or any(_matches(name, _PUBLISHED) for name in layers):
        return lambda name, is_wanted: _matches(name, _PUBLISHED), ""
    hidden = set(layers[:-1] or layers)
    but = f"all but the last, {layers[-1]!r}" if len(layers) > 1 else "the only one"
    return lambda name, is_wanted: name in hidden, f"; no layer is called {' or '.join(_PUBLISHED)}: {but}"


def _is_first_process() -> bool:
    initialized = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not initialized or torch.distributed.get_rank() == 0


def _chosen_weights(
    model: nn.Module,
    rule: Callable[[str, bool], bool],
    exclude: tuple[str, ...] | str,
    wanted: tuple[type[nn.Module], ...],
) -> set[int]:
    chosen: set[int] = set()
    refused: set[int] = set()
    others: list[tuple[str, str]] = []
    for name, module in model.named_modules(remove_duplicate=False):
        is_wanted = isinstance(module, wanted)
        asked = rule(name, is_wanted) and not _matches(name, exclude)
        for parameter_name, parameter in module.named_parameters(recurse=False):
            if asked and is_wanted and parameter_name == "weight":
                chosen.add(id(parameter))
                continue
            refused.add(id(parameter))
            if asked and not is_wanted and parameter.ndim > 1:
                others.append((f"{name}.{parameter_name}", type(module).__name__))
    if others:
        first, kind = others[0]
        further = f"; so it is with {len(others) - 1} more" if len(others) > 1 else ""
        warnings.warn(
            f"{first} is matched but not transformed: "
            f"{kind} is none of {', '.join(kind.__name__ for kind in wanted)}{further}",
            stacklevel=3,
        )
    return chosen - refused


def _matches(name: str, patterns: tuple[str, ...] | str) -> bool:
    if isinstance(patterns, str):
        return bool(patterns) and re.search(patterns, name) is not None
    return any(part in name for part in patterns)
