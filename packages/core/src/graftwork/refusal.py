"""A value that an option does not take: what it would take, what it was given, and how that is written."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, time
from typing import Any

from graftwork.errors import did_you_mean
from graftwork.plain_data import plain
from graftwork.plain_text import read
from graftwork.schema import Option
from graftwork.toml import dumps_value, shown
from graftwork.values import NotAccepted, check, choices_of

# Short names of number formats, as other programs take them.
_ALSO_CALLED = {
    "bf16": "bfloat16",
    "f16": "float16",
    "fp16": "float16",
    "half": "float16",
    "f32": "float32",
    "fp32": "float32",
    "single": "float32",
    "f64": "float64",
    "fp64": "float64",
    "double": "float64",
}


def accepted(value: Any, text: str | None, annotation: Any) -> Any:
    """A value as an option takes it.

    Args:
        value: as TOML gives it.
        text: that stands for it on the command line; None where it is from elsewhere.
        annotation: of the option, evaluated.

    Raises:
        NotAccepted: it does not fit, and the text says nothing else that would.
    """
    try:
        return check(value, annotation)
    except NotAccepted:
        if text is None:
            raise
    return read(text, annotation)


def refusal(value: Any, option: Option) -> str:
    """The sentence for a value that an option does not take."""
    return f"expected {option.type_text}, got {shown(value)} ({_toml_type(value)}){_advice(value, option)}"


def _advice(value: Any, option: Option) -> str:
    choices = choices_of(option.annotation)
    if isinstance(value, str) and choices:
        meant = _ALSO_CALLED.get(value.lower(), value)
        return did_you_mean(meant, choices)
    written = _written(value, list[str] if option.chosen_kind else option.annotation)
    if written:
        return f", write {written}"
    if not isinstance(value, (list, tuple, Mapping)) and isinstance(option.default, (list, tuple)):
        return f"; a list stands in brackets, like {dumps_value(plain(option.default))}"
    return ""


def _written(value: Any, annotation: Any) -> str:
    """How a value is written that is plain, but not of the option's type."""
    if isinstance(value, (list, tuple, Mapping)):
        return ""
    text = (
        value
        if isinstance(value, str)
        else str(value)
        if isinstance(value, (date, time))
        else dumps_value(value)
    )
    try:
        return dumps_value(plain(read(text, annotation)))
    except NotAccepted:
        return ""


def _toml_type(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 63:
        return "whole number of more than 64 bits"
    names = {bool: "boolean", int: "whole number", float: "float", str: "string", list: "list", dict: "table"}
    return names.get(type(value), type(value).__name__)
