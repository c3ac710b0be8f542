"""One value against one annotation: the check, and the annotation in words.

Annotations understood: numbers, strings, booleans, ``Path``, ``Literal``, enums, lists, tuples, dictionaries
with string keys, and unions with ``None``. Any other class (a ``torch.Tensor`` in a union, say) is simply
something that a recipe cannot give.
"""

from __future__ import annotations

import enum
import math
import numbers
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

# TOML has no null: where an option may be None, this string is it.
NONE = "none"
_SEQUENCES = (list, Sequence, set, frozenset)
# What TOML says that every reader of it takes.
_WHOLE_NUMBERS = range(-(2**63), 2**63)


class NotAccepted(Exception):  # noqa: N818  control flow between the branches of a union, never shown to a user
    """The value does not fit the annotation."""


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
        words = [describe(a) for a in arguments if a is not type(None) and can_be_given(a)]
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


def choices_of(annotation: Any) -> list[str]:
    """The texts that an option takes, where its annotation names them.

    >>> choices_of(Literal["a", 1] | None)
    ['a']
    """
    annotation, _ = unwrap(annotation)
    if _is_union(annotation):
        return [choice for one in get_args(annotation) for choice in choices_of(one)]
    if get_origin(annotation) is Literal:
        return [choice for choice in get_args(annotation) if isinstance(choice, str)]
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return [member.value for member in annotation if isinstance(member.value, str)]
    return []


def is_finite(value: Any) -> bool:
    """Whether no number in a value is infinite or nan, however deep in lists and tables.

    >>> is_finite([0.9, {"eps": float("nan")}]), is_finite("inf")
    (False, True)
    """
    if isinstance(value, Mapping):
        return all(map(is_finite, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def can_be_given(annotation: Any) -> bool:
    """Whether some TOML value fits an annotation."""
    annotation, _ = unwrap(annotation)
    if _is_union(annotation):
        return any(can_be_given(alternative) for alternative in get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return True
    plain = (Any, str, int, float, bool, Path, tuple, dict, Mapping, *_SEQUENCES)
    return annotation in plain or get_origin(annotation) in (Literal, *plain)


def check(value: Any, annotation: Any) -> Any:
    """Return the value as its annotation wants it.

    Args:
        value: as TOML gives it, or Python: a tuple, a ``Path`` and numpy's numbers are what they stand for.
        annotation: evaluated; ``Any`` accepts everything.

    Raises:
        NotAccepted: it does not fit.

    >>> check([1, 0.5], tuple[float, float]), check(1e3, int)
    ((1.0, 0.5), 1000)
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
        _accept(value, isinstance(value, (list, tuple)))
        items = [check(item, arguments[0]) for item in value] if arguments else list(value)
        gathered = origin or annotation
        return gathered(items) if gathered in (set, frozenset) else items
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
        _accept(value, isinstance(value, numbers.Real) and not isinstance(value, bool))
        try:
            return float(value)
        except OverflowError:
            raise NotAccepted from None
    if annotation is int:
        whole = isinstance(value, numbers.Integral) or (isinstance(value, float) and value.is_integer())
        _accept(value, whole and not isinstance(value, bool) and int(value) in _WHOLE_NUMBERS)
        return int(value)
    if annotation is Path:
        return Path(_accept(value, isinstance(value, (str, Path)))).expanduser()
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        for member in annotation:
            if value in (member.value, member.name):
                return member
        raise NotAccepted
    return _accept(value, isinstance(annotation, type) and isinstance(value, annotation))
