"""Objects that Python code gives a training in place of names: classes, functions, or what they built."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from graftwork import Component, GraftworkError, Kind, Override
from graftwork.component import called_by
from graftwork.plugins import Plugin
from graftwork.registration import component_name
from graftwork.registry import Registry, check_contract

PLUGIN = "python"


def plugin_of(objects: Mapping[str, Any], registry: Registry) -> Plugin:
    """A plugin whose components are objects at hand.

    Args:
        objects: kind to class or function of options, or to what takes its place: a task, a trainer or a
            model that is built already.
        registry: knows the kinds.

    Raises:
        GraftworkError: an object breaks the contract of its kind.
    """
    components, targets = [], {}
    for name, thing in objects.items():
        kind = registry.kinds[name]
        target = _target(kind, thing)
        component = Component(name, _name_of(thing), f"{PLUGIN}:{name}", described(thing))
        check_contract(kind, component, target)
        components.append(component)
        targets[component.target] = target
    return Plugin(PLUGIN, PLUGIN, "", PLUGIN, components=tuple(components), objects=targets)


def names_of(plugin: Plugin) -> list[Override]:
    """What makes a recipe name each object in its section."""
    return [
        Override((part.kind, "name"), f"{plugin.name}:{part.name}", f"{part.kind}={part.summary}")
        for part in plugin.components
    ]


def described(thing: object) -> str:
    """Where a class, function or object is defined, for people.

    >>> described(nn.Linear), described(nn.Linear(1, 1))
    ('torch.nn.modules.linear.Linear', 'an object of torch.nn.modules.linear.Linear')
    """
    called = called_by(thing)
    if hasattr(called, "__qualname__"):
        return f"{called.__module__}.{called.__qualname__}"
    return f"an object of {type(called).__module__}.{type(called).__qualname__}"


def _target(kind: Kind, thing: Any) -> Any:
    """What builds a component: the object itself, or what returns it where it is built."""
    if isinstance(thing, torch.optim.Optimizer):
        raise GraftworkError(
            f"{kind.name}={type(thing).__name__}(...): is over parameters already; give the class, or a "
            "function that takes params and options"
        )
    if isinstance(thing, type):
        return thing
    built = isinstance(thing, nn.Module) if kind.name == Kind.MODEL else not kind.lacking(thing)
    if built:
        return lambda **facts: thing
    if not callable(thing):
        raise GraftworkError(
            f"{kind.name}={type(thing).__name__}(...): lacks {', '.join(kind.lacking(thing)) or 'a call'}; "
            f"the contract of {kind.name} is: {kind.contract}"
        )
    return thing


def _name_of(thing: Any) -> str:
    called = called_by(thing)
    identifier = getattr(called, "__name__", type(called).__name__)
    return re.sub(r"[^a-z0-9]+", "-", component_name(identifier)).strip("-") or PLUGIN
