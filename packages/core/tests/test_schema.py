"""Options read off signatures, and values checked against annotations."""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal, Optional, Union

import pytest

from graftwork.choice import Choice
from graftwork.component import Component, Kind
from graftwork.errors import ContractError
from graftwork.extras import Extra
from graftwork.schema import REQUIRED, schema_of
from graftwork.values import NotAccepted, can_be_given, check, describe


class Side(enum.Enum):
    LEFT = "left"
    RIGHT = "right"


class Tensor:
    """Stands for a type that no recipe can give."""


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (1, float, 1.0),
        (3, int, 3),
        ("x", str, "x"),
        (True, bool, True),
        ("~/x", Path, Path("~/x").expanduser()),
        ("cosine", Literal["cosine", "linear"], "cosine"),
        ("right", Side, Side.RIGHT),
        ([1, 2], list[float], [1.0, 2.0]),
        ([1, 2], Sequence[int], [1, 2]),
        (["a", "b"], set[str], {"a", "b"}),
        ([1], frozenset[int], frozenset({1})),
        ([0.9, 0.99], tuple[float, float], (0.9, 0.99)),
        ([1, 2, 3], tuple[int, ...], (1, 2, 3)),
        ({"a": 1}, dict[str, float], {"a": 1.0}),
        ("none", float | None, None),
        (2, Optional[float], 2.0),  # noqa: UP045  the old spelling is what torch's signatures use
        (1, Union[float, Tensor], 1.0),  # noqa: UP007
        (1, int | float, 1),
        ({"any": []}, Any, {"any": []}),
        # As Python code gives them.
        (Path("x"), Path, Path("x")),
        ((1, 2), list[float], [1.0, 2.0]),
        (Fraction(1, 2), float, 0.5),
        (HTTPStatus.OK, int, 200),
    ],
)
def test_values_that_fit(value, annotation, expected):
    result = check(value, annotation)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    "annotation", [list[float], Sequence[float], tuple[float, ...], tuple[float, float], frozenset[float]]
)
def test_what_stands_in_a_list_is_as_its_annotation_wants_it(annotation):
    assert {type(item) for item in check([1, 2], annotation)} == {float}
    assert {type(item) for item in check({"a": [1, 2]}, dict[str, annotation])["a"]} == {float}


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (True, int),
        (True, float),
        (1.5, int),
        ("1", float),
        (1, str),
        (1, bool),
        ("slow", Literal["cosine", "linear"]),
        (1, Literal[True]),
        ("up", Side),
        ("abc", list[str]),
        ([1, "x"], list[int]),
        ([0.9], tuple[float, float]),
        ("x", float | None),
        ("x", Union[float, Tensor]),  # noqa: UP007
        ([1], dict[str, int]),
        ({"a": "x"}, dict[str, int]),
        ([1, True], tuple[int, ...]),
    ],
)
def test_values_that_do_not_fit(value, annotation):
    with pytest.raises(NotAccepted):
        check(value, annotation)


def test_words_leave_out_what_no_recipe_can_give():
    assert describe(Union[float, Tensor]) == "float"  # noqa: UP007
    assert describe(Side | None) == "'left' or 'right' or none"
    assert describe(Union[Tensor, object]) == "nothing a recipe can give"  # noqa: UP007


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (list, "list"),
        (list[int], "list of whole number"),
        (set[Path], "list of path"),
        (Sequence[str], "list of string"),
        (tuple[float, ...], "list of float"),
        (tuple[bool, Any], "[true or false, anything]"),
        (dict, "table"),
        (dict[str, int], "table"),
        (Mapping[str, int], "table"),
        (Literal["a", 1], "'a' or 1"),
        (int | str | None, "whole number or string or none"),
    ],
)
def test_annotations_in_words(annotation, words):
    assert describe(annotation) == words


class Base:
    def __init__(self, params, lr: float = 0.1, **extra: object) -> None:
        """Make one.

        Args:
            params: supplied by the trainer.
            lr (float, optional): step size
                of every step.
        """


class Derived(Base):
    """Inherits its signature."""

    @staticmethod
    def select_parameters(model: Any, match: Sequence[str] = ("attn",), *, other: Any = 1) -> Any:
        """Choose.

        Args:
            match: substrings of names.
        """


def test_options_come_from_the_signature_and_the_companion():
    kind = Kind("optimizer", "", supplied=("params", "model"), companion="select_parameters")
    options = schema_of(Derived, kind).options
    assert list(options) == ["lr", "match", "other"]
    assert (options["lr"].annotation, options["lr"].default) == (float, 0.1)
    assert options["match"].meaning == "substrings of names."
    assert options["match"].of_companion
    assert options["other"].annotation is Any


def test_meanings_of_a_documented_init():
    kind = Kind("optimizer", "", supplied=("params",))
    assert schema_of(Base, kind).options["lr"].meaning == "step size of every step."


def test_what_the_caller_supplies_is_no_option():
    def model(vocab_size: int, width: int = 8) -> None: ...

    schema = schema_of(model, Kind("model", "", supplied=("*",)))
    assert list(schema.options) == ["width"]
    assert schema.supplied == ("vocab_size",)
    required = schema_of(model, Kind("task", "")).options["vocab_size"]
    assert required.default is REQUIRED
    assert required.required


def test_a_required_component_of_a_model_is_an_option():
    def model(vocab_size: int, attention: Choice, *, layers: int = 2) -> None: ...

    schema = schema_of(model, Kind("model", "", supplied=("*",)))
    assert list(schema.options) == ["attention", "layers"]
    assert schema.options["attention"].chosen_kind == "attention"
    assert schema.supplied == ("vocab_size",)


def test_a_type_that_cannot_be_resolved_names_its_option():
    def task(rows: int = 1, loader: Missing = None) -> None: ...  # noqa: F821

    with pytest.raises(
        ContractError, match=r"the type of option 'loader' of .*task, 'Missing', cannot be res"
    ):
        schema_of(task, Kind("task", ""))

    # Where the caller supplies it, its type is nobody's business.
    def model(loader: Missing) -> None: ...  # noqa: F821

    assert schema_of(model, Kind("model", "", supplied=("*",))).supplied == ("loader",)


def test_what_no_recipe_can_give_is_refused_where_it_is_required():
    def task(weights: Tensor) -> None: ...

    def fine(weights: Tensor | None = None) -> None: ...

    with pytest.raises(ContractError, match=r"option 'weights' of .*task is required and a Tensor"):
        schema_of(task, Kind("task", ""))
    assert "weights" in schema_of(fine, Kind("task", "")).options


@pytest.mark.parametrize(
    ("annotation", "given"),
    [(int | None, True), (Union[float, Tensor], True), (Tensor, False), (Tensor | None, False), (Side, True)],  # noqa: UP007
)
def test_whether_some_value_fits(annotation, given):
    assert can_be_given(annotation) is given


@pytest.mark.parametrize("modules", ["json", ("json.decoder",), ["json"]])
def test_an_extra_names_whole_modules(modules):
    with pytest.raises(ValueError, match="modules of an Extra must be a tuple of top-level names"):
        Extra("graftwork-kit[json]", modules)


def test_extras_of_a_component_are_a_tuple():
    with pytest.raises(ValueError, match="extras of task/one must be a tuple of Extra"):
        Component("task", "one", "module:One", "a task", extras=Extra("graftwork-kit[json]", ("json",)))


@dataclass(frozen=True)
class Inner:
    depth: int = 2


@dataclass(frozen=True)
class Outer:
    inner: Inner = Inner()


@dataclass
class OfFields:
    inner: Inner = field(default_factory=Inner)


def test_a_dataclass_inside_another_is_refused_and_a_factory_is_a_default():
    def task(outer: Outer = Outer()) -> None: ...

    with pytest.raises(ContractError, match=r"option 'inner' of .*task is a dataclass inside another"):
        schema_of(task, Kind("task", ""))
    assert schema_of(OfFields, Kind("task", "")).options["depth"].default == 2


def test_what_a_partial_binds_is_a_default_and_the_rest_is_its_functions():
    class Sided:
        """Has two sides.

        Args:
            side: one of them.
        """

        def __init__(self, params, side: Side = Side.LEFT, width: float = 1.0) -> None: ...

        @staticmethod
        def select_parameters(model, rank: int = 4): ...

    kind = Kind("optimizer", "for a test", supplied=("params", "model"), companion="select_parameters")
    schema = schema_of(functools.partial(functools.partial(Sided, side=Side.RIGHT), width=2.0), kind)
    defaults = {name: option.default for name, option in schema.options.items()}
    assert defaults == {"side": Side.RIGHT, "width": 2.0, "rank": 4}
    assert (schema.options["side"].annotation, schema.options["side"].meaning) == (Side, "one of them.")
