"""A fault of somebody's code, told in one sentence: the component, what it was at, the file and the line."""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from types import CodeType, FrameType
from typing import Any, NamedTuple

from graftwork.choice import Choice
from graftwork.component import called_by
from graftwork.errors import GraftworkError
from graftwork.plugin_code import cause_of
from graftwork.registry import Entry, get_registry

_OURS = ("graftwork", "graftwork_trainer")
_METHODS = {("self",), ("cls",)}
_BUILDING = {"__init__", "__new__", "__post_init__"}


class Fault(GraftworkError):  # noqa: N818, as it is no error of the user's
    """What went wrong is code, mostly a plugin's, and nothing of the user's; the exception is its cause."""


class Origin(NamedTuple):
    """Where an exception came out of a component.

    Args:
        entry: the component; None where the code is of none.
        at: the function of it that was called, "" while it was built.
        module: of its class or function.
    """

    entry: Entry | None
    at: str
    module: str


def sentence_of(
    error: BaseException, *, chosen: Iterable[Entry] = (), objects: Iterable[tuple[object, Entry]] = ()
) -> str:
    """An exception in one line, with the innermost component that it came out of.

    Args:
        error: as it was caught.
        chosen: components in use, which go before others that have the same target.
        objects: what components built, where it is at hand.

    >>> try:
    ...     {}["a"]
    ... except KeyError as error:
    ...     sentence_of(error)
    "KeyError: 'a' (<doctest graftwork.faults.sentence_of[0]>:2)"
    """
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, StopIteration):
        error = error.__cause__  # what Python makes of it where a generator raises it knows not from where
    origin = origin_of(error, chosen=chosen, objects=objects)
    told = cause_with_place(error, origin.module)
    if origin.entry is None:
        return told
    return f"{origin.entry.full_reference}{f', {origin.at}' if origin.at else ''}: {told}"


def cause_with_place(error: BaseException, module: str = "") -> str:
    """An exception in one line, with the file and line: of a module's package where it came through that."""
    frames = list(traceback.walk_tb(error.__traceback__))
    package = module.partition(".")[0]
    own = [one for one in frames if package and _package_of(one[0]) == package and package not in _OURS]
    if not frames:
        return cause_of(error)
    frame, line = (own or frames)[-1]
    return f"{cause_of(error)} ({_shown(frame)}:{line})"


def origin_of(
    error: BaseException, *, chosen: Iterable[Entry] = (), objects: Iterable[tuple[object, Entry]] = ()
) -> Origin:
    """The innermost component whose code an exception came through, and which of its functions was called."""
    classes, functions = _targets([*chosen, *get_registry().entries()])
    by_identity = {id(thing): entry for thing, entry in objects}
    origin = Origin(None, "", "")
    for frame, _ in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        first = frame.f_locals.get(code.co_varnames[0]) if code.co_varnames[:1] in _METHODS else None
        if isinstance(first, Choice):
            found = Origin(first.entry, "", str(called_by(first.target).__module__))
        elif code in functions:
            found = Origin(functions[code], "", str(frame.f_globals.get("__name__", "")))
        else:
            cls = first if isinstance(first, type) else type(first)
            entry = by_identity.get(id(first)) or _of_class(cls, classes)
            found = Origin(entry, "" if code.co_name in _BUILDING else code.co_name, cls.__module__)
        # Of several of its functions the one that was called from outside; torch calls a model by its own.
        is_outer = found.entry is not origin.entry or not origin.at or origin.at.startswith("_")
        if found.entry is not None and is_outer:
            origin = found
    return origin


def _targets(entries: Iterable[Entry]) -> tuple[Mapping[type, Entry], Mapping[CodeType, Entry]]:
    """The classes and functions of components that are imported already."""
    classes: dict[type, Entry] = {}
    functions: dict[CodeType, Entry] = {}
    for entry in entries:
        target = called_by(_imported(entry))
        if isinstance(target, type):
            classes.setdefault(target, entry)
        elif inspect.isfunction(target):
            functions.setdefault(target.__code__, entry)
    return classes, functions


def _imported(entry: Entry) -> Any:
    given = entry.plugin.objects.get(entry.component.target)
    if given is not None:
        return given
    module_name, _, attribute = entry.component.target.partition(":")
    target: Any = sys.modules.get(module_name)
    for part in attribute.split("."):
        # Not getattr: a module may import at that.
        target = getattr(target, "__dict__", {}).get(part)
    return target


def _of_class(cls: type, classes: Mapping[type, Entry]) -> Entry | None:
    return next((classes[one] for one in cls.__mro__ if one in classes), None)


def _package_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _shown(frame: FrameType) -> str:
    """A file as it stands in its package: ``package/module.py``."""
    path, module = frame.f_code.co_filename, str(frame.f_globals.get("__name__", ""))
    depth = module.count(".") + 1 + (PurePath(path).name == "__init__.py")
    return "/".join(PurePath(path).parts[-depth:]) if os.sep in path else path
