"""The tables of a recipe before anything of them is resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Of tables that no file has.
NO_SOURCE = "recipe"


@dataclass(frozen=True, slots=True)
class Tables:
    """What is to be resolved.

    Args:
        name: of the recipe.
        source: where it stands, for messages.
        sections: section to table; each table has a ``name``.
        origins: dotted key to where it was said, where that is not the source.
        texts: dotted key to the text of the command line, where it was said there.
        shared: sections that may be left unused.
        named: section to its tables ``[section.for.NAME]``, by name.
        written: section to what it was written as, where that was a misspelling.
    """

    name: str
    source: str
    sections: Mapping[str, Any]
    origins: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    shared: frozenset[str] = frozenset()
    named: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    written: Mapping[str, str] = field(default_factory=dict)
