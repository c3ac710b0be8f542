"""What ``graftwork attention check`` is pointed at: a registered mixer, or a class of any installed module.

Naming a class is what permits its module to be imported.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from dataclasses import fields
from importlib import import_module
from typing import Any

from torch import nn

from graftwork import GraftworkError, Kind, choose, get_registry
from graftwork.errors import UnknownNameError, did_you_mean
from graftwork.plugin_code import cause_of
from graftwork_attention.capabilities import Capabilities
from graftwork_attention.contract import Build

CLAIMS = tuple(field.name for field in fields(Capabilities))
_SIZES = ("dim", "heads", "max_len", "layer_index")


def find(name: str, options: Mapping[str, Any], claims: Collection[str]) -> Build:
    """Return what builds the mixer of a name.

    Args:
        name: of a registered attention, or ``module:Class``.
        options: for its constructor.
        claims: capabilities of a class that has none of its own.

    Raises:
        GraftworkError: there is no such mixer, or a claim is none.
    """
    for claim in claims:
        if claim not in CLAIMS:
            raise GraftworkError(
                f"--claims takes {', '.join(CLAIMS)}, got {claim!r}{did_you_mean(claim, CLAIMS)}"
            )
    registry = get_registry()
    try:
        registry.find_in(Kind.ATTENTION, name)
    except UnknownNameError:
        module, colon, attribute = name.partition(":")
        if not colon or any(plugin.name == module for plugin in registry.plugins):
            raise
        return _fitted(name, _imported(name, module, attribute), options, claims)
    if claims:
        raise GraftworkError(f"--claims is for a module:Class; {name} says itself what it can do")
    return choose(Kind.ATTENTION, name, options)


def _imported(name: str, module: str, attribute: str) -> Any:
    try:
        target: Any = import_module(module)
        for part in attribute.split("."):
            target = getattr(target, part)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            raise GraftworkError(
                f"{name}: no module {error.name!r} is installed; a file of your own that registers a mixer "
                "goes before the command, as graftwork --plugin FILE attention check NAME"
            ) from error
        raise GraftworkError(f"{name}: {cause_of(error)}") from error
    except AttributeError as error:
        near = did_you_mean(attribute, list(vars(import_module(module))))
        raise GraftworkError(f"{name}: the module {module} has no {attribute!r}{near}") from error
    except Exception as error:
        raise GraftworkError(f"{name}: {cause_of(error)}") from error
    if not callable(target):
        raise GraftworkError(f"{name} must build a torch.nn.Module, got {target!r:.60}")
    return target


def _fitted(name: str, target: Any, options: Mapping[str, Any], claims: Collection[str]) -> Build:
    """Give a constructor the sizes that it has parameters for, and its modules what was claimed for them."""
    parameters = inspect.signature(target).parameters
    any_name = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())

    def build(dim: int, heads: int, max_len: int, *, layer_index: int) -> nn.Module:
        sizes = dict(zip(_SIZES, (dim, heads, max_len, layer_index), strict=True))
        known = {size: value for size, value in sizes.items() if any_name or size in parameters}
        module: nn.Module = target(**{**known, **options})
        if claims:
            module.capabilities = Capabilities(**dict.fromkeys(claims, True))  # type: ignore[assignment]
        return module

    try:
        module = build(16, 2, 24, layer_index=0)
    except Exception as error:
        lacks = "; give what it lacks by --set NAME=VALUE" if isinstance(error, TypeError) else ""
        raise GraftworkError(
            f"{name} cannot be built with dim 16, heads 2 and max_len 24, as far as it has such parameters: "
            f"{cause_of(error)}{lacks}"
        ) from error
    if not isinstance(module, nn.Module):
        raise GraftworkError(f"{name} must build a torch.nn.Module, built {type(module).__name__}")
    if not hasattr(module, "capabilities"):
        raise GraftworkError(
            f"{name} has no capabilities: say what it claims by --claims, of {', '.join(CLAIMS)}"
        )
    return build
