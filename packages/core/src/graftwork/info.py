"""``graftwork info``: what a recipe may set for an entry."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterator
from typing import Any

from graftwork.component import Kind
from graftwork.docstrings import summary_line
from graftwork.errors import with_article
from graftwork.recipe import recipe_path
from graftwork.registry import Entry, Registry, get_registry
from graftwork.schema import Option, schema_of
from graftwork.terminal import wrap


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
        yield wrap(f"{extra.description}, for {' and '.join(extra.modules)}", " " * 12, "  extra     ")
    if component.kind == Kind.RECIPE:
        yield ""
        yield recipe_path(entry).read_text("utf-8").rstrip()
        return
    target = registry.resolve(entry)
    kind = registry.kinds[component.kind]
    yield wrap(kind.contract, " " * 12, "  contract  ")
    if component.kind == Kind.OPTIMIZER:
        yield f"  closure   {getattr(target, 'closure', None)}"
    if about := summary_line(target):
        yield ""
        yield wrap(about, "  ")
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
    named = f"the name of {with_article(kind)}, or the section [{option.name}]" if kind else ""
    type_text = named or option.type_text
    yield wrap(f"{option.name}  {type_text}, {default}", " " * 8, "    ")
    if option.meaning:
        yield wrap(option.meaning, " " * 8)


def _shown(default: Any) -> str:
    return "none" if default is None else str(default).lower() if isinstance(default, bool) else str(default)


def _parameters(target: Any) -> set[str]:
    return set(inspect.signature(target).parameters)
