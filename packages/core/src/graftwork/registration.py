"""Marking a class or function as a component where it is written, for plugins that are one file.

A mark registers nothing by itself: whoever loads the module as a plugin collects what is marked in it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any, TypeVar

from graftwork.component import Component, is_component_name
from graftwork.docstrings import summary_line

T = TypeVar("T")
Mark = tuple[str, str, str | None]

_MARK = "__graftwork_component__"
# What a module has marked so far, in the module itself.
_MARKS = "__graftwork_marks__"
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
        TypeError: what is marked is neither a class nor a function, or no kind is given.
        ValueError: the name is none of a component's.

    >>> @register("optimizer")
    ... class SignDescent:
    ...     '''Moves by the sign of the gradient.'''
    >>> vars(SignDescent)["__graftwork_component__"]
    ('optimizer', 'sign-descent', None)
    """

    if not isinstance(kind, str):
        raise TypeError(f"register takes the kind first, @register('task'), got {kind!r}")

    def mark(thing: T) -> T:
        if not isinstance(thing, type | FunctionType):
            raise TypeError(f"register marks a class or a function, got {thing!r}")
        own: Mark = (kind, name or component_name(thing.__name__), paper)
        if not is_component_name(own[1]):
            raise ValueError(
                f"{own[1]!r} is no name of a component, which is lower case with hyphens: "
                f"@register({kind!r}, 'small-net')"
            )
        setattr(thing, _MARK, own)
        home = sys.modules.get(thing.__module__)
        if home is not None:
            vars(home).setdefault(_MARKS, []).append((own, thing.__qualname__))
        return thing

    return mark


def marked_in(module: ModuleType) -> Iterator[Component]:
    """What a module marks of its own; what it imports is its home's.

    Raises:
        ValueError: something that is marked cannot be had from the module by a name.
    """
    seen: set[int] = set()
    found: set[Mark] = set()
    for attribute, thing in list(vars(module).items()):
        # A class that inherits from a marked one is not marked, nor is an instance of it.
        own: Any = vars(thing) if isinstance(thing, type | FunctionType) else {}
        if _MARK not in own or thing.__module__ != module.__name__ or id(thing) in seen:
            continue
        seen.add(id(thing))
        found.add(own[_MARK])
        kind, name, paper = own[_MARK]
        yield Component(kind, name, f"{module.__name__}:{attribute}", summary_line(thing), paper)
    for mark, where in getattr(module, _MARKS, ()):
        if mark not in found:
            raise ValueError(
                f"{mark[0]}/{mark[1]} is {where}, which no name of the module leads to: mark what stands at "
                "its top level, under a name that stays"
            )


def component_name(identifier: str) -> str:
    """A Python name in the form of a component's.

    >>> component_name("GWTAdam"), component_name("SignDescent2"), component_name("small_net")
    ('gwt-adam', 'sign-descent2', 'small-net')
    """
    return _WORD_BEGINS.sub("-", identifier.strip("_")).lower()
