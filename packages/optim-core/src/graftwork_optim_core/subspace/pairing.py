"""Hosts and transforms by name: this package's own, then whatever plugins registered.

A name without a plugin means this package's own where there is one; ``plugin:name`` means that plugin's.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from functools import cache
from importlib import import_module
from typing import Any

from graftwork.errors import did_you_mean
from graftwork_optim_core.plugin import HOSTS, TRANSFORMS, graftwork_components

__all__ = ["HOSTS", "TRANSFORMS", "build", "class_named", "known_options", "option_defaults"]


@cache
def class_named(kind: str, name: str) -> Any:
    """Return what is registered under a name.

    Raises:
        GraftworkError: nothing is, or what is registered cannot be imported.

    >>> class_named(HOSTS, "adamw").__name__
    'AdamWHost'
    """
    for component in graftwork_components():
        if (component.kind, component.name) == (kind, name):
            module, _, attribute = component.target.partition(":")
            return getattr(import_module(module), attribute)
    # The registry reads the entry points of all distributions, which who names only ours need not pay for.
    from graftwork import get_registry

    registry = get_registry()
    return registry.resolve(registry.find_in(kind, name))


@cache
def option_defaults(kind: str, name: str) -> dict[str, Any]:
    """Return the options of a host or transform with their defaults; ``inspect.Parameter.empty`` for none."""
    parameters = inspect.signature(class_named(kind, name)).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters}


def build(kind: str, name: str, options: Mapping[str, Any]) -> Any:
    """Build a host or transform with those of the options that are its own.

    Raises:
        ValueError: one that has no default is missing, or one is out of its range.
        GraftworkError: no such host or transform.
    """
    wanted = option_defaults(kind, name)
    missing = [key for key in wanted if key not in options]
    if missing:
        raise ValueError(f"{kind} {name!r} needs the option {missing[0]!r}, which is not given")
    return class_named(kind, name)(**{key: options[key] for key in wanted})


def known_options(kind: str, name: str, given: Mapping[str, Any], common: Collection[str]) -> dict[str, Any]:
    """Return a host's or transform's options, those given and the defaults of the others.

    Args:
        kind: which of the two.
        name: registered.
        given: by the names of its signature.
        common: names of the options that every optimizer of the family has, none of which it may have.

    Raises:
        ValueError: it has no such option, or one that every optimizer of the family has.
    """
    wanted = option_defaults(kind, name)
    for key in given:
        if key not in wanted:
            raise ValueError(
                f"{kind} {name!r} has no option {key!r}{did_you_mean(key, wanted)}; "
                f"its options are {', '.join(wanted) or 'none'}"
            )
    clash = sorted(set(wanted).intersection(common))
    if clash:
        raise ValueError(
            f"{kind} {name!r} has an option {clash[0]!r}, which every optimizer of the family has"
        )
    options = {key: given.get(key, default) for key, default in wanted.items()}
    return {key: value for key, value in options.items() if value is not inspect.Parameter.empty}
