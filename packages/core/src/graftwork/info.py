"""``graftwork info``: what a recipe may set for an entry, or all that one recipe may set."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from graftwork.component import Kind
from graftwork.description import DescribedOption, describe
from graftwork.recipe import load_recipe
from graftwork.recipe_options import recipe_lines
from graftwork.registry import Entry, Registry, get_registry
from graftwork.terminal import wrap


class InfoCommand:
    """``graftwork info REFERENCE``; imports a target, whose signature is what it prints, where it must."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "reference",
            metavar="REFERENCE",
            help="optimizer/adamw, optimizer/PLUGIN:NAME, a name that nothing else has, or a recipe",
        )

    def run(self, arguments: argparse.Namespace) -> int:
        registry = get_registry()
        if arguments.reference.endswith(".toml"):
            lines = recipe_lines(load_recipe(arguments.reference), registry)
        else:
            lines = info_lines(registry.find_anywhere(arguments.reference), registry)
        print("\n".join(lines))
        return 0


def info_lines(entry: Entry, registry: Registry) -> Iterator[str]:
    """What a recipe may set for an entry, and where it comes from."""
    component, plugin = entry.component, entry.plugin
    yield wrap(component.summary, " " * 4, f"{component.reference}   ")
    yield ""
    yield f"  from      {plugin.distribution} {plugin.version} ({entry.full_reference})"
    yield f"  target    {component.target}"
    if component.paper:
        yield f"  paper     {component.paper}"
    for extra in component.extras:
        yield wrap(f"{extra.description}, for {' and '.join(extra.modules)}", " " * 12, "  extra     ")
    if component.kind == Kind.RECIPE:
        name = f"{plugin.name}:{component.name}"
        yield wrap(f"graftwork new recipe {name} > mine.toml", " " * 12, "  to edit   ")
        for other in registry.entries():
            if other.component.name == component.name and other.component.kind != Kind.RECIPE:
                yield f"  see also  {other.full_reference}"
        yield ""
        yield from recipe_lines(load_recipe(name, registry=registry), registry)
        return
    described = describe(entry, registry)
    yield wrap(registry.kinds[component.kind].contract, " " * 12, "  contract  ")
    if component.kind == Kind.OPTIMIZER:
        yield f"  closure   {described.closure}"
    if described.about:
        yield ""
        yield wrap(described.about, "  ")
    yield ""
    yield f"  options of [{component.kind}]:" if described.options else "  no options"
    for option in described.options:
        yield from option_lines(option)
    if described.supplied:
        yield ""
        yield wrap(", ".join(described.supplied), " " * 4, "  supplied by the caller: ")


def option_lines(option: DescribedOption) -> Iterator[str]:
    """One option: its type and default on the first line, its meaning below."""
    default = "required" if option.required else f"default {option.default_text}"
    yield wrap(f"{option.name}  {option.type_text}, {default}", " " * 8, "    ")
    if option.meaning:
        yield wrap(option.meaning, " " * 8)
