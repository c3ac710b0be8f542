"""The signature is the schema: what a recipe may set for a target, read from its parameters.

A parameter annotated with a dataclass is a group: its fields are options of the same table. One annotated
:class:`graftwork.Choice` is a component chosen by name; a list of them takes several.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from graftwork.choice import Choice, Shorthand, Supplies
from graftwork.component import Kind, called_by
from graftwork.docstrings import parameter_meanings
from graftwork.errors import ContractError, with_article
from graftwork.group import Group
from graftwork.plugin_code import cause_of, plugin_code
from graftwork.values import can_be_given, describe, unwrap

REQUIRED: Any = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Option:
    """One name that a recipe may set."""

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
        if self.listed and self.chosen_kind:
            return f"list of {self.chosen_kind}s, each a name or a table with name"
        return describe(self.annotation)

    @property
    def chosen_kind(self) -> str | None:
        """The kind of component that it refers to, or None where it is a plain value."""
        annotation, metadata = unwrap(self.annotation)
        if self.listed:
            annotation = get_args(annotation)[0]
        if annotation is Choice or Choice in get_args(annotation):
            return next((mark for mark in metadata if isinstance(mark, str)), self.name)
        return None

    @property
    def listed(self) -> bool:
        """Whether it takes several: of components, ``Annotated[Sequence[Choice | str], "tracker"]``."""
        annotation = unwrap(self.annotation)[0]
        return get_origin(annotation) in (list, Sequence) and bool(get_args(annotation))

    @property
    def supplies(self) -> Supplies | None:
        """What the component that takes it gives it; None where that is not said."""
        marks = unwrap(self.annotation)[1]
        return next((mark for mark in marks if isinstance(mark, Supplies)), None)

    @property
    def shorthand(self) -> Shorthand | None:
        """What a plain text in place of the component stands for; None where it is the component's name."""
        marks = unwrap(self.annotation)[1]
        return next((mark for mark in marks if isinstance(mark, Shorthand)), None)


@dataclass(frozen=True, slots=True)
class Schema:
    """What a recipe may set for a target.

    Args:
        options: by name, in the order of the signature; those of groups after the target's own.
        groups: parameters that gather some of them.
        supplied: names of the parameters without a default that the caller fills in.
        may_be_supplied: names of those with a default that it may fill in.
        takes_anything: whether there is a ``**``.
    """

    options: Mapping[str, Option]
    groups: tuple[Group, ...]
    supplied: tuple[str, ...]
    may_be_supplied: tuple[str, ...]
    takes_anything: bool


def schema_of(target: Any, kind: Kind) -> Schema:
    """Read the schema of a target.

    Args:
        target: a class or function.
        kind: its kind, which says what the caller supplies and whether there is a companion.

    Raises:
        ContractError: an option's type cannot be resolved, no recipe can give one that is required, or two
            have one name; the message names the option. Or the target's own code fails while it is read.
    """
    try:
        with plugin_code():
            return _read_schema(target, kind)
    except ContractError:
        raise
    except Exception as error:
        raise ContractError(f"the options of {_name(target)} cannot be read: {cause_of(error)}") from error


def _read_schema(target: Any, kind: Kind) -> Schema:
    options: dict[str, Option] = {}
    groups: list[Group] = []
    supplied: list[str] = []
    may_be_supplied: list[str] = []
    takes_anything = False
    meanings = _meanings(target)
    for parameter, annotation in _parameters(target, kind):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            takes_anything = takes_anything or parameter.kind is parameter.VAR_KEYWORD
        elif annotation is _SUPPLIED:
            (supplied if parameter.default is REQUIRED else may_be_supplied).append(parameter.name)
        elif _is_group(annotation):
            groups.append(_group(parameter, annotation, _name(target)))
        else:
            meaning = meanings.get(parameter.name, "")
            options[parameter.name] = Option(parameter.name, annotation, parameter.default, meaning)
    for group in groups:
        for option in _options_of_group(group):
            _add(options, option, f"{_name(target)} has an option of its own and one of {group.parameter}")
    if companion := kind.companion_of(target):
        meanings = _meanings(companion)
        for parameter, annotation in _parameters(companion, kind):
            if annotation is not _SUPPLIED and parameter.name not in options:
                meaning = meanings.get(parameter.name, "")
                options[parameter.name] = Option(
                    parameter.name, annotation, parameter.default, meaning, of_companion=True
                )
    _refuse_what_cannot_be_given(options, _name(target))
    # In a table, `name` is the component's own.
    options.pop("name", None)
    return Schema(options, tuple(groups), tuple(supplied), tuple(may_be_supplied), takes_anything)


_SUPPLIED: Any = object()


def _parameters(target: Any, kind: Kind) -> Iterator[tuple[inspect.Parameter, Any]]:
    """Every parameter with its evaluated annotation, ``_SUPPLIED`` in its place where the caller gives it."""
    module_names = vars(sys.modules[_defining_module(target)])
    of_fields = _field_annotations(target) if _is_group(target) else {}
    factories = {
        field.name: field.default_factory
        for field in (dataclasses.fields(target) if of_fields else ())
        if field.default_factory is not dataclasses.MISSING
    }
    for parameter in inspect.signature(target).parameters.values():
        if parameter.name in factories:
            parameter = parameter.replace(default=factories[parameter.name]())
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            yield parameter, None
            continue
        required = parameter.default is REQUIRED
        by_caller = kind.supplies(parameter.name, has_default=not required)
        if by_caller and kind.supplied != ("*",):
            yield parameter, _SUPPLIED
            continue
        try:
            annotation = _evaluate(*of_fields.get(parameter.name, (parameter.annotation, module_names)))
        except Exception as error:
            if by_caller:  # it may exist for the type checker alone, nobody checks it
                yield parameter, _SUPPLIED
                continue
            raise ContractError(_unresolvable(parameter.name, target, parameter.annotation, error)) from error
        names_component = Option(parameter.name, annotation, None, "").chosen_kind is not None
        yield (
            parameter,
            _SUPPLIED if by_caller and not (names_component or _is_group(annotation)) else annotation,
        )


def _is_group(annotation: Any) -> bool:
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation) and annotation is not Choice


def _options_of_group(group: Group) -> Iterator[Option]:
    meanings = _meanings(group.type)
    annotations = _field_annotations(group.type)
    for field in group.fields:
        try:
            annotation = _evaluate(*annotations[field])
        except Exception as error:
            raise ContractError(_unresolvable(field, group.type, annotations[field][0], error)) from error
        yield Option(field, annotation, group.default_of(field), meanings.get(field, ""))


def _meanings(target: Any) -> dict[str, str]:
    """What each parameter means; a dataclass documents its own fields, and its bases theirs."""
    if not _is_group(target):
        return parameter_meanings(called_by(target))
    meanings: dict[str, str] = {}
    for base in reversed(target.__mro__):
        if dataclasses.is_dataclass(base):
            meanings |= parameter_meanings(base)
    return meanings


def _field_annotations(cls: type) -> dict[str, tuple[Any, Mapping[str, Any]]]:
    """The annotation of every field of a dataclass, with the names of the module that it is written in."""
    annotations: dict[str, tuple[Any, Mapping[str, Any]]] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            names = vars(sys.modules[base.__module__])
            own = inspect.get_annotations(base).items()
            annotations |= {field: (annotation, names) for field, annotation in own}
    return annotations


def _add(options: dict[str, Option], option: Option, clash: str) -> None:
    if option.name in options:
        raise ContractError(f"{clash}, both called {option.name!r}: rename one")
    options[option.name] = option


def _group(parameter: inspect.Parameter, cls: Any, owner: str) -> Group:
    """A parameter's group, whose default says the same when it is built from its own fields.

    Raises:
        ContractError: it does not, so that a recipe that is written and read again would mean something else.
    """
    group = Group(parameter.name, cls, parameter.default)
    where = f"group {parameter.name!r} of {owner}"
    if any("InitVar" in str(annotation) for annotation, _ in _field_annotations(cls).values()):
        raise ContractError(f"{where}: {cls.__name__} has an InitVar, which no recipe can keep; use a field")
    if group.default is REQUIRED:
        return group
    if not isinstance(group.default, cls):
        raise ContractError(
            f"{where}: its default must be {with_article(cls.__name__)}, got {group.default!r}"
        )
    given = {name: getattr(group.default, name) for name in group.fields}
    again = cls(**given)
    changed = [name for name, value in given.items() if getattr(again, name) != value]
    if changed:
        raise ContractError(
            f"{where}: {cls.__name__} changes {' and '.join(changed)} when it is made of its own values; "
            "keep what was given in the fields, and what follows from it in properties"
        )
    return group


def _refuse_what_cannot_be_given(options: Mapping[str, Option], name: str) -> None:
    for option in options.values():
        if _is_group(option.annotation):
            raise ContractError(
                f"option {option.name!r} of {name} is a dataclass inside another: let one derive from the "
                "other"
            )
        unable = option.chosen_kind is None and not can_be_given(option.annotation)
        if option.required and (unable or option.name == "name"):
            raise ContractError(
                f"option {option.name!r} of {name} is required and {with_article(option.type_text)}, which "
                "no recipe can give: give it a default, or a type that TOML has"
            )


def _unresolvable(option: str, owner: Any, annotation: Any, error: Exception) -> str:
    return (
        f"the type of option {option!r} of {_name(owner)}, {annotation!r}, cannot be resolved: "
        f"{type(error).__name__}: {error}; import what it names outside TYPE_CHECKING"
    )


def _name(target: Any) -> str:
    return str(getattr(called_by(target), "__qualname__", target))


def _defining_module(target: Any) -> str:
    """The module whose names the annotations are written in: an inherited ``__init__`` keeps its own."""
    target = called_by(target)
    if isinstance(target, type):
        owners = [cls for cls in target.__mro__ if "__init__" in vars(cls)]
        return owners[0].__module__
    return str(inspect.unwrap(target).__module__)


def _evaluate(annotation: Any, module_names: Mapping[str, Any]) -> Any:
    if annotation is inspect.Parameter.empty:
        return Any
    if not isinstance(annotation, str):
        return annotation
    # What typing.get_type_hints does, one parameter at a time.
    return eval(annotation, dict(module_names))
