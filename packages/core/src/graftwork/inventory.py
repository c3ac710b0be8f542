"""``graftwork list`` and ``graftwork info``."""

from __future__ import annotations

import argparse
import inspect
import shutil
import textwrap
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from graftwork.component import Kind
from graftwork.docstrings import summary_line
from graftwork.recipe import recipe_path
from graftwork.registry import Entry, Registry, get_registry
from graftwork.schema import Option, schema_of


def terminal_width() -> int:
    """Columns of the terminal, 80 where there is none."""
    return shutil.get_terminal_size((80, 24)).columns


def _wrap(text: str, indent: str, first: str = "") -> str:
    return textwrap.fill(
        text, width=min(terminal_width(), 100), initial_indent=first or indent, subsequent_indent=indent
    )


class ListCommand:
    """``graftwork list [KIND]``; imports no target."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "kind", nargs="?", metavar="KIND", help="only this kind, `optimizer` for instance"
        )
        parser.add_argument("--kinds", action="store_true", help="list the kinds and their contracts instead")

    def run(self, arguments: argparse.Namespace) -> int:
        registry = get_registry()
        if arguments.kinds:
            print(
                "\n".join(
                    _wrap(kind.contract, " " * 20, f"{kind.name:<18}  ") for kind in registry.kinds.values()
                )
            )
            return 0
        entries = registry.entries(arguments.kind)
        if not entries:
            print(f"no installed plugin registers any {arguments.kind or 'component'}")
        print("\n".join(list_lines(entries)))
        return 0


def list_lines(entries: list[Entry]) -> Iterator[str]:
    """Lines of the list; a name that two plugins claim stands with its plugin, as it must be written."""
    width = max((len(_shown_name(entry, entries)) for entry in entries), default=0)
    for kind, of_kind in groupby(entries, key=lambda entry: entry.component.kind):
        yield kind
        for entry in of_kind:
            paper = f" ({entry.component.paper})" if entry.component.paper else ""
            name = f"  {_shown_name(entry, entries):<{width}}  "
            needs = "".join(f"; {extra.description}" for extra in entry.component.extras)
            yield _wrap(entry.component.summary + paper + needs, " " * len(name), name)
        yield ""


def _shown_name(entry: Entry, entries: list[Entry]) -> str:
    claimed = sum(other.component.reference == entry.component.reference for other in entries)
    return entry.component.name if claimed == 1 else f"{entry.plugin.name}:{entry.component.name}"


class InfoCommand:
    """``graftwork info KIND/NAME``; imports the target, whose signature is what it prints."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "reference", metavar="KIND/NAME", help="optimizer/adamw, or optimizer/PLUGIN:NAME"
        )

    def run(self, arguments: argparse.Namespace) -> int:
        registry = get_registry()
        print("\n".join(info_lines(registry.find(arguments.reference), registry)))
        return 0


def info_lines(entry: Entry, registry: Registry) -> Iterator[str]:
    """What a recipe may set for an entry, and where it comes from."""
    component, plugin = entry.component, entry.plugin
    yield f"{component.reference}   {component.summary}"
    yield ""
    yield f"  from      {plugin.distribution} {plugin.version} ({entry.full_reference})"
    yield f"  target    {component.target}"
    if component.paper:
        yield f"  paper     {component.paper}"
    for extra in component.extras:
        yield _wrap(f"{extra.description}, for {' and '.join(extra.modules)}", " " * 12, "  extra     ")
    if component.kind == Kind.RECIPE:
        yield ""
        yield recipe_path(entry).read_text("utf-8").rstrip()
        return
    target = registry.resolve(entry)
    kind = registry.kinds[component.kind]
    yield _wrap(kind.contract, " " * 12, "  contract  ")
    if component.kind == Kind.OPTIMIZER:
        yield f"  closure   {getattr(target, 'closure', None)}"
    if about := summary_line(target):
        yield ""
        yield _wrap(about, "  ")
    schema = schema_of(target, kind)
    yield ""
    yield f"  options of [{component.kind}]:" if schema.options else "  no options"
    for option in schema.options.values():
        yield from option_lines(option)
    supplied = [*(name for name in kind.supplied if name in _parameters(target)), *schema.supplied]
    if supplied:
        yield ""
        yield f"  supplied by the caller: {', '.join(dict.fromkeys(supplied))}"


def option_lines(option: Option) -> Iterator[str]:
    """One option: its type and default on the first line, its meaning below."""
    kind = option.chosen_kind
    default = "required" if option.required else f"default {_shown(option.default)}"
    type_text = option.type_text if kind is None else f"the name of a {kind}, or the section [{option.name}]"
    yield _wrap(f"{option.name}  {type_text}, {default}", " " * 8, "    ")
    if option.meaning:
        yield _wrap(option.meaning, " " * 8)


def _shown(default: Any) -> str:
    return "none" if default is None else str(default).lower() if isinstance(default, bool) else str(default)


def _parameters(target: Any) -> set[str]:
    return set(inspect.signature(target).parameters)
