"""``graftwork doctor``: what is installed, what was skipped and why, and what the machine has."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version

from graftwork.catalogue import package_of
from graftwork.component import Kind
from graftwork.errors import GraftworkError, MissingExtraError, RecipeError, UnknownNameError, did_you_mean
from graftwork.machine import machine_lines, machine_notes
from graftwork.plugins import Selection
from graftwork.recipe import load_recipe, recipe_path
from graftwork.recipe_file import read_toml
from graftwork.registry import Entry, Registry, get_registry
from graftwork.schema import schema_of


class DoctorCommand:
    """Report on every plugin; exit 1 if anything is wrong."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--resolve",
            action="store_true",
            help="also import every target and check it against its contract, check every recipe, and ask "
            "torch for its devices",
        )

    def run(self, arguments: argparse.Namespace) -> int:
        registry = get_registry()
        print(f"graftwork {version('graftwork')}, Python {platform.python_version()}, {platform.platform()}")
        print("\n".join(machine_lines(ask_torch=arguments.resolve)))
        print("\n".join(plugin_lines(registry)))
        problems = [f"{plugin.label}: {plugin.cause}" for plugin in registry.failures]
        notes = [
            f"{reference} is claimed by more than one plugin: use a full name"
            for reference in registry.contested()
        ]
        notes += [*misnamed_plugins(registry, os.environ), *machine_notes()]
        if arguments.resolve:
            for error in unresolvable(registry):
                # What is optional may be absent.
                (notes if isinstance(error, MissingExtraError) else problems).append(str(error))
        for note in notes:
            print(f"note: {note}")
        for problem in problems:
            print(f"problem: {problem}")
        print("no problems found" if not problems else f"{len(problems)} problem(s) found")
        return 1 if problems else 0


def plugin_lines(registry: Registry) -> Iterator[str]:
    """One line per plugin: status, distribution, load time, and whether loading it imported torch."""
    if not registry.plugins:
        yield "no plugins installed; `pip install ./packages/*` in a clone of Graftwork brings its own"
    width = max((len(plugin.name) for plugin in registry.plugins), default=0)
    for plugin in registry.plugins:
        torch = "  imports torch when loaded: make its targets strings" if plugin.imported_torch else ""
        yield (
            f"  {plugin.name:<{width}}  {plugin.status:<8}  {plugin.distribution} {plugin.version}  "
            f"{len(plugin.components)} components  {1000 * plugin.seconds:.1f} ms{torch}"
        )


def misnamed_plugins(registry: Registry, environment: Mapping[str, str]) -> Iterator[str]:
    """Names in the variables that choose among plugins that are no plugin's."""
    chosen = Selection.from_environment(environment)
    known = [plugin.name for plugin in registry.plugins]
    named = {"GRAFTWORK_PLUGINS": chosen.only or (), "GRAFTWORK_DISABLE": chosen.without}
    for variable, names in named.items():
        for name in sorted(set(names) - set(known)):
            yield f"{variable} names {name!r}, which no installed plugin is called{did_you_mean(name, known)}"


def unresolvable(registry: Registry) -> Iterator[GraftworkError]:
    """Entries whose target cannot be imported, or breaks the contract of its kind; recipes with mistakes."""
    for entry in registry.entries():
        try:
            if entry.component.kind == Kind.RECIPE:
                _resolve_recipe(entry, registry)
            else:
                schema_of(registry.resolve(entry), registry.kinds[entry.component.kind])
        except GraftworkError as error:
            yield error


def _resolve_recipe(entry: Entry, registry: Registry) -> None:
    try:
        load_recipe(f"{entry.plugin.name}:{entry.component.name}", registry=registry).resolve(registry)
    except RecipeError as error:
        told = f"{entry.component.reference} of {entry.plugin.label}: {'; '.join(error.mistakes)}"
        kind = MissingExtraError if _names_what_is_absent(entry, registry) else GraftworkError
        raise kind(told) from error


def _names_what_is_absent(recipe: Entry, registry: Registry) -> bool:
    """Whether a recipe names what a package or an extra would bring that is not installed, or disabled."""
    for section, table in read_toml(recipe_path(recipe)).items():
        if section not in registry.kinds or not isinstance(table, Mapping):
            continue
        name = str(table.get("name"))
        try:
            registry.resolve(registry.find_in(section, name))
        except MissingExtraError:
            return True
        except UnknownNameError:
            package = package_of(section, name.rpartition(":")[2])
            here = [plugin for plugin in registry.plugins if plugin.distribution == package]
            if package and all(plugin.status == "disabled" for plugin in here):
                return True
        except GraftworkError:
            continue
    return False
