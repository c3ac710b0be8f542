"""Marking a class or function as a component where it is written, for plugins that are one file.

A mark registers nothing by itself: whoever loads the module as a plugin collects what is marked in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any, TypeVar

from graftwork.component import Component
from graftwork.docstrings import summary_line

T = TypeVar("T")

_MARK = "__graftwork_component__"
_WORD_BEGINS = re.compile(r"_|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def register(kind: str, name: str | None = None, *, paper: str | None = None) -> Callable[[T], T]:
    """Mark a class or function of a plugin as a component; its docstring's first paragraph is the summary.

    Args:
        kind: of a declared kind, ``"task"`` for instance.
        name: lower case with hyphens; made of the class's or function's own where it is left out.
        paper: where it was published, ``arXiv:2501.07237`` for instance.

    Returns:
        A decorator that returns what it marks.

    Raises:
        TypeError: what is marked is neither a class nor a function.

    >>> @register("optimizer")
    ... class SignDescent:
    ...     '''Moves by the sign of the gradient.'''
    >>> vars(SignDescent)["__graftwork_component__"]
    ('optimizer', 'sign-descent', None)
    """

    def mark(thing: T) -> T:
        if not isinstance(thing, type | FunctionType):
            raise TypeError(f"register marks a class or a function, got {thing!r}")
        setattr(thing, _MARK, (kind, name or component_name(thing.__name__), paper))
        return thing

    return mark


def marked_in(module: ModuleType) -> Iterator[Component]:
    """What a module marks of its own; what it imports is its home's."""
    seen: set[int] = set()
    for attribute, thing in list(vars(module).items()):
        # A class that inherits from a marked one is not marked, nor is an instance of it.
        own: Any = vars(thing) if isinstance(thing, type | FunctionType) else {}
        if _MARK not in own or thing.__module__ != module.__name__ or id(thing) in seen:
            continue
        seen.add(id(thing))
        kind, name, paper = own[_MARK]
        yield Component(kind, name, f"{module.__name__}:{attribute}", summary_line(thing), paper)


def component_name(identifier: str) -> str:
    """A Python name in the form of a component's.

    >>> component_name("GWTAdam"), component_name("SignDescent2"), component_name("small_net")
    ('gwt-adam', 'sign-descent2', 'small-net')
    """
    return _WORD_BEGINS.sub("-", identifier.strip("_")).lower()
