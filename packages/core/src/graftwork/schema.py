"""The signature is the schema: options of a target, and the check of one value against one annotation.

Annotations understood: numbers, strings, booleans, ``Path``, ``Literal``, enums, lists, tuples, dictionaries
with string keys, unions with ``None``, and :class:`graftwork.Choice` for a reference by name. Any other class
(a ``torch.Tensor`` in a union, say) is simply something that a recipe cannot give.
"""

from __future__ import annotations

import enum
import inspect
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from graftwork.component import Kind
from graftwork.docstrings import parameter_meanings

REQUIRED: Any = inspect.Parameter.empty
# TOML has no null: where an option may be None, this string is it.
NONE = "none"
# In Annotated[Choice, kind, INLINE]: the chosen component's options stand in the same table.
INLINE = "inline"
_SEQUENCES = (list, Sequence, set, frozenset)


class NotAccepted(Exception):  # noqa: N818  control flow between the branches of a union, never shown to a user
    """The value does not fit the annotation."""


@dataclass(frozen=True, slots=True)
class Option:
    """One parameter that a recipe may set."""

    name: str
    annotation: Any
    default: Any
    meaning: str
    of_companion: bool = False

    @property
    def required(self) -> bool:
        """Whether a recipe must give it."""
        return self.default is REQUIRED

    @property
    def type_text(self) -> str:
        """The annotation in words."""
        return describe(self.annotation)


def options_of(target: Any, kind: Kind) -> dict[str, Option]:
    """Read what a recipe may set for a target, in the order of its signature.

    Args:
        target: a class or function.
        kind: its kind, which says what the caller supplies and whether there is a companion.
    """
    options = _parameters(target, kind, of_companion=False)
    companion = companion_of(target, kind)
    if companion is not None:
        for name, option in _parameters(companion, kind, of_companion=True).items():
            options.setdefault(name, option)
    return options


def companion_of(target: Any, kind: Kind) -> Any:
    """The function beside the target whose parameters are options too, or None."""
    return getattr(target, kind.companion, None) if kind.companion else None


def _parameters(target: Any, kind: Kind, *, of_companion: bool) -> dict[str, Option]:
    meanings = parameter_meanings(target)
    module_names = vars(sys.modules[_defining_module(target)])
    options = {}
    for parameter in inspect.signature(target).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if kind.supplies(parameter.name, has_default=parameter.default is not REQUIRED):
            continue
        options[parameter.name] = Option(
            parameter.name,
            _evaluate(parameter.annotation, module_names),
            parameter.default,
            meanings.get(parameter.name, ""),
            of_companion,
        )
    return options


def _defining_module(target: Any) -> str:
    """The module whose names the annotations are written in: an inherited ``__init__`` keeps its own."""
    if isinstance(target, type):
        owners = [cls for cls in target.__mro__ if "__init__" in vars(cls)]
        return owners[0].__module__
    return str(inspect.unwrap(target).__module__)


def _evaluate(annotation: Any, module_names: Mapping[str, Any]) -> Any:
    if annotation is inspect.Parameter.empty:
        return Any
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(
            annotation, dict(module_names)
        )  # what typing.get_type_hints does, one parameter at a time
    except Exception:
        return Any  # a name that exists only for the type checker: nothing to check against


def unwrap(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Split ``Annotated[X, ...]`` into X and its metadata."""
    if get_origin(annotation) is typing.Annotated:
        inner, *metadata = get_args(annotation)
        return inner, tuple(metadata)
    return annotation, ()


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def describe(annotation: Any) -> str:
    """Put an annotation in words, leaving out what a recipe cannot give.

    >>> describe(float | None), describe(Literal["a", "b"]), describe(tuple[float, float])
    ('float or none', "'a' or 'b'", '[float, float]')
    """
    annotation, _ = unwrap(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if _is_union(annotation):
        words = [describe(a) for a in arguments if a is not type(None) and _can_be_given(a)]
        return (
            " or ".join(dict.fromkeys(words + ["none"] * (type(None) in arguments)))
            or "nothing a recipe can give"
        )
    if origin is Literal:
        return " or ".join(repr(value) for value in arguments)
    if origin in _SEQUENCES or annotation in _SEQUENCES:
        return f"list of {describe(arguments[0])}" if arguments else "list"
    if origin is tuple:
        if arguments[-1:] == (Ellipsis,):
            return f"list of {describe(arguments[0])}"
        return f"[{', '.join(describe(a) for a in arguments)}]"
    if origin is dict or origin is Mapping or annotation is dict:
        return "table"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return " or ".join(repr(member.value) for member in annotation)
    plain = {
        str: "string",
        int: "whole number",
        float: "float",
        bool: "true or false",
        Path: "path",
        Any: "anything",
    }
    return plain.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _can_be_given(annotation: Any) -> bool:
    annotation, _ = unwrap(annotation)
    if get_origin(annotation) is not None or annotation in (
        Any,
        str,
        int,
        float,
        bool,
        Path,
        list,
        dict,
        tuple,
    ):
        return True
    return isinstance(annotation, type) and (
        issubclass(annotation, enum.Enum) or annotation.__name__ == "Choice"
    )


def check(value: Any, annotation: Any) -> Any:
    """Return the value as its annotation wants it.

    Args:
        value: as TOML gives it.
        annotation: evaluated; ``Any`` accepts everything.

    Raises:
        NotAccepted: it does not fit.

    >>> check([1, 0.5], tuple[float, float])
    (1.0, 0.5)
    """
    annotation, _ = unwrap(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return value
    if _is_union(annotation):
        return _check_union(value, arguments)
    if origin is Literal:
        return _accept(value, any(value == choice and type(value) is type(choice) for choice in arguments))
    if origin in _SEQUENCES or annotation in _SEQUENCES:
        _accept(value, isinstance(value, list))
        return [check(item, arguments[0]) for item in value] if arguments else value
    if origin is tuple or annotation is tuple:
        return _check_tuple(value, arguments)
    if origin in (dict, Mapping) or annotation is dict:
        _accept(value, isinstance(value, Mapping))
        return {key: check(item, arguments[1]) for key, item in value.items()} if arguments else dict(value)
    return _check_scalar(value, annotation)


def _accept(value: Any, fits: bool) -> Any:
    if not fits:
        raise NotAccepted
    return value


def _check_union(value: Any, arguments: tuple[Any, ...]) -> Any:
    if type(None) in arguments and value in (None, NONE):
        return None
    # The value's own type goes first, so that 1 in `int | float` stays an int.
    ordered = sorted(arguments, key=lambda a: unwrap(a)[0] is not type(value))
    for alternative in ordered:
        if alternative is type(None):
            continue
        try:
            return check(value, alternative)
        except NotAccepted:
            continue
    raise NotAccepted


def _check_tuple(value: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    _accept(value, isinstance(value, (list, tuple)))
    if not arguments:
        return tuple(value)
    if arguments[-1:] == (Ellipsis,):
        return tuple(check(item, arguments[0]) for item in value)
    _accept(value, len(value) == len(arguments))
    return tuple(check(item, wanted) for item, wanted in zip(value, arguments, strict=True))


def _check_scalar(value: Any, annotation: Any) -> Any:
    if annotation is float:
        return float(_accept(value, isinstance(value, (int, float)) and not isinstance(value, bool)))
    if annotation is int:
        return _accept(value, isinstance(value, int) and not isinstance(value, bool))
    if annotation is Path:
        return Path(_accept(value, isinstance(value, str))).expanduser()
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        for member in annotation:
            if value in (member.value, member.name):
                return member
        raise NotAccepted
    return _accept(value, isinstance(annotation, type) and isinstance(value, annotation))
