"""What `info`, `--help`, `new recipe` and completion tell of a component: its schema as plain text and data.

Unlike a schema it can be kept, and read again without importing the component.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graftwork.component import Kind
from graftwork.description_cache import DescriptionCache
from graftwork.docstrings import summary_line
from graftwork.errors import with_article
from graftwork.plain_data import plain
from graftwork.registry import Entry, Registry
from graftwork.schema import Option, schema_of


@dataclass(frozen=True, slots=True)
class DescribedOption:
    """One option.

    Args:
        name: as a recipe sets it.
        type_text: what it takes, in words.
        meaning: one line, empty where its docstring has none.
        required: whether a recipe must give it.
        default: as plain TOML data; None where it is none, or nothing that TOML has.
        default_text: for people.
        kind: of the component that it names, or None.
        supplies: what that component is given, None where that is not said.
        shorthand: the component, and its option, that a plain text stands for; None where it is a name.
    """

    name: str
    type_text: str
    meaning: str
    required: bool
    default: Any
    default_text: str
    kind: str | None = None
    supplies: tuple[str, ...] | None = None
    shorthand: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """One component.

    Args:
        about: the first paragraph of its docstring.
        closure: what the ``step`` of an optimizer must be given.
        options: in the order of its signature.
        supplied: names of what the caller fills in.
    """

    about: str
    closure: str | None
    options: tuple[DescribedOption, ...]
    supplied: tuple[str, ...]

    def to_data(self) -> dict[str, Any]:
        """What JSON holds."""
        options = [{key: getattr(one, key) for key in DescribedOption.__slots__} for one in self.options]
        return {
            "about": self.about,
            "closure": self.closure,
            "options": options,
            "supplied": list(self.supplied),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Description:
        """Of :meth:`to_data`; what is damaged raises LookupError, TypeError or ValueError."""
        options = tuple(
            DescribedOption(
                **{**one, **{key: one[key] and tuple(one[key]) for key in ("supplies", "shorthand")}}
            )
            for one in data["options"]
        )
        return cls(str(data["about"]), data["closure"], options, tuple(data["supplied"]))


def describe(entry: Entry, registry: Registry) -> Description:
    """Describe a component; its target is imported unless the cache knows that nothing has changed since.

    Raises:
        GraftworkError: it cannot be imported, or breaks its contract.
    """
    described = described_before(entry, registry)
    if described is None:
        described = _read(entry, registry)
        DescriptionCache.of_this_process(registry).keep(entry, registry, described.to_data())
    return described


def described_before(entry: Entry, registry: Registry) -> Description | None:
    """The description that the cache has; None where it has none, or where something has changed since.

    Raises:
        MissingExtraError: the component needs what is not installed.
    """
    entry.component.require_extras()
    data = DescriptionCache.of_this_process(registry).kept(entry, registry)
    try:
        return None if data is None else Description.from_data(data)
    except (LookupError, TypeError, ValueError):
        return None


def _read(entry: Entry, registry: Registry) -> Description:
    target, kind = registry.resolve(entry), registry.kinds[entry.component.kind]
    schema = schema_of(target, kind)
    by_caller = [name for name in kind.supplied if name in inspect.signature(target).parameters]
    return Description(
        summary_line(target),
        getattr(target, "closure", None) if kind.name == Kind.OPTIMIZER else None,
        tuple(map(_described, schema.options.values())),
        tuple(dict.fromkeys([*by_caller, *schema.supplied])),
    )


def _described(option: Option) -> DescribedOption:
    kind = None if option.listed else option.chosen_kind
    named = f"{_named(option, kind)}, or the section [{option.name}]" if kind else ""
    default = None if option.required else option.default
    return DescribedOption(
        option.name,
        named or option.type_text,
        option.meaning,
        option.required,
        plain(default),
        _shown(default),
        kind,
        None if option.supplies is None else tuple(option.supplies),
        None if option.shorthand is None else (option.shorthand.component, option.shorthand.option),
    )


def _named(option: Option, kind: str) -> str:
    if option.shorthand is None:
        return f"the name of {with_article(kind)}"
    return f"{option.shorthand.option} of the {kind} {option.shorthand.component!r}"


def _shown(default: Any) -> str:
    return "none" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
