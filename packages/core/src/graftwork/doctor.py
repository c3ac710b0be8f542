"""``graftwork doctor``: what is installed, what was skipped and why."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterator
from importlib.metadata import version

from graftwork.component import Kind
from graftwork.errors import GraftworkError, MissingExtraError
from graftwork.recipe import recipe_path
from graftwork.registry import Entry, Registry, get_registry
from graftwork.schema import schema_of


class DoctorCommand:
    """Report on every plugin; exit 1 if anything is wrong."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--resolve",
            action="store_true",
            help="also import every target and check it against its contract",
        )

    def run(self, arguments: argparse.Namespace) -> int:
        registry = get_registry()
        print(f"graftwork {version('graftwork')}, Python {platform.python_version()}, {platform.platform()}")
        print("\n".join(plugin_lines(registry)))
        problems = [f"{plugin.label}: {plugin.cause}" for plugin in registry.failures]
        notes = [
            f"{reference} is claimed by more than one plugin: use a full name"
            for reference in registry.contested()
        ]
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


def unresolvable(registry: Registry) -> Iterator[GraftworkError]:
    """Entries whose target cannot be imported, or breaks the contract of its kind."""
    for entry in registry.entries():
        try:
            _resolve(entry, registry)
        except GraftworkError as error:
            yield error


def _resolve(entry: Entry, registry: Registry) -> None:
    if entry.component.kind != Kind.RECIPE:
        schema_of(registry.resolve(entry), registry.kinds[entry.component.kind])
    elif not recipe_path(entry).is_file():
        raise GraftworkError(f"{entry.component.reference}: {entry.component.target} is no file")
