"""Sections that nothing uses, and what they were plainly meant to be; names that say nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from graftwork.component import Kind
from graftwork.errors import close_matches, did_you_mean
from graftwork.tables import Tables
from graftwork.toml import key_text, shown


def lacking_section(section: str) -> str:
    """The mistake of a recipe that does not have one of the sections that each has."""
    what = "what to train" if section == Kind.TASK else f"which {section}"
    return f'[{section}]: is missing; a recipe says {what}: [{section}] with name = "..."'


def key_of_name(table: Mapping[str, Any]) -> str | None:
    """The key by which a table names its component: ``name``, or one that is plainly meant to be it."""
    if "name" in table:
        return "name"
    return next((key for key in table if close_matches(key, ["name"])), None)


def unusable_name(kind: str, table: Mapping[str, Any]) -> str | None:
    """What is wrong with how a table names its component; None where it is a text."""
    name = table.get("name")
    if isinstance(name, str):
        return None
    if name is not None:
        return f"expected string, got {shown(name)}"
    close = key_of_name(table)
    hint = f"; did you mean 'name' by {shown(close)}?" if close else ""
    return f"is missing; it says which {kind} to use{hint}"


def misspelt_sections(
    given: Tables, *, used: Collection[str], asked: Collection[str], kinds: Collection[str], unknown: bool
) -> tuple[list[str], Tables | None]:
    """Tell sections that nothing uses, and put those right that are plainly misspelt.

    Args:
        given: all sections.
        used: those that something uses.
        asked: those that something looked for, be they there or not.
        kinds: of components.
        unknown: whether the task or the trainer is not known, and so not all that it would use.

    Returns:
        A mistake for each section, and the tables as they were meant; None where no section was misspelt.
    """
    told: list[str] = []
    meant: dict[str, str] = {}
    known = {*asked, *used, *kinds}
    for section in given.sections:
        if section in used or section in given.shared:
            continue
        free = {one for one in (known if unknown else asked) if _is_free(one, given)} - {*meant.values()}
        close = close_matches(section, free)
        hint = did_you_mean(section, close or known - {section})
        if unknown and not hint:
            continue  # the one that is not known may use it
        told.append(
            f"[{key_text(section)}]{_said_by(section, given)}: nothing in this recipe uses it{hint}"
            + ("" if unknown or hint else f"; used are {', '.join(f'[{name}]' for name in used)}")
        )
        if len(close) == 1:
            meant[section] = close[0]
    return told, _renamed(given, meant) if meant else None


def _is_free(section: str, given: Tables) -> bool:
    """Whether a misspelt section can be it: nothing is there, or but for the name that every trainer has."""
    table = given.sections.get(section, {})
    return not table or (section == Kind.TRAINER and len(table) == 1)


def _said_by(section: str, given: Tables) -> str:
    """The part of the command line that made a section."""
    table = given.sections[section]
    origins = [given.origins.get(f"{section}.{key}") for key in table] if isinstance(table, Mapping) else []
    return f" ({origins[0]})" if origins and all(origins) else ""


def _renamed(given: Tables, meant: Mapping[str, str]) -> Tables:
    def right(key: str) -> str:
        section, dot, rest = key.partition(".")
        return f"{meant.get(section, section)}{dot}{rest}"

    sections: dict[str, Any] = {key: table for key, table in given.sections.items() if key not in meant}
    for wrong, section in meant.items():
        sections[section] = {**sections.get(section, {}), **given.sections[wrong]}
    named: dict[str, Mapping[str, Mapping[str, Any]]] = {}
    for key, tables in given.named.items():
        named[right(key)] = {**named.get(right(key), {}), **tables}
    return replace(
        given,
        sections=sections,
        origins={right(key): origin for key, origin in given.origins.items()},
        texts={right(key): text for key, text in given.texts.items()},
        named=named,
        written={**given.written, **{section: wrong for wrong, section in meant.items()}},
    )
