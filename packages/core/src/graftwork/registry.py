"""The registry: names to components, with ambiguity refused and close matches offered.

A reference is ``kind/name`` or ``kind/plugin:name``. Listing imports no target, resolving does.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from graftwork.catalogue import COMMAND, installing, kinds_with, package_of, package_with
from graftwork.component import SHIPPED_KINDS, Command, Component, Kind
from graftwork.entry_points import installed_entry_points
from graftwork.errors import (
    AmbiguousNameError,
    ContractError,
    GraftworkError,
    UnknownNameError,
    close_matches,
    did_you_mean,
)
from graftwork.plugin_code import cause_of, plugin_code
from graftwork.plugins import Plugin, Selection, load_plugins

CLOSURES = (None, "loss", "gradient")


@dataclass(frozen=True, slots=True)
class Entry:
    """A component and the plugin that registered it."""

    component: Component
    plugin: Plugin

    @property
    def full_reference(self) -> str:
        """``kind/plugin:name``, which is never ambiguous."""
        return f"{self.component.kind}/{self.plugin.name}:{self.component.name}"


class Registry:
    """What the loaded plugins registered.

    Args:
        plugins: loaded, failed and disabled ones, as :func:`graftwork.plugins.load_plugins` returns them.

    >>> registry = Registry([])
    >>> [kind for kind in registry.kinds][:3]
    ['optimizer', 'attention', 'model']
    """

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self.kinds: dict[str, Kind] = {kind.name: kind for kind in SHIPPED_KINDS}
        self.plugins: list[Plugin] = self._settle(plugins)
        self._entries = [
            Entry(component, plugin) for plugin in self._loaded() for component in plugin.components
        ]
        self._claims = Counter(entry.component.reference for entry in self._entries)

    @classmethod
    def discover(cls, environment: Mapping[str, str] | None = None) -> Registry:
        """Load the installed plugins.

        ``GRAFTWORK_PLUGINS`` and ``GRAFTWORK_DISABLE`` choose among them; ``GRAFTWORK_STRICT`` raises what a
        broken one raised.
        """
        environment = os.environ if environment is None else environment
        strict = environment.get("GRAFTWORK_STRICT", "") not in ("", "0")
        entry_points, damaged = installed_entry_points()
        loaded = load_plugins(entry_points, Selection.from_environment(environment), strict=strict)
        registry = cls([*loaded, *damaged])
        if strict and registry.failures:
            broken = registry.failures[0]
            raise GraftworkError(f"{broken.label}: {broken.cause}")
        return registry

    def extended(self, plugin: Plugin) -> Registry:
        """A registry with one more plugin; this one stays what it is."""
        return Registry([*self.plugins, plugin])

    def _settle(self, plugins: Sequence[Plugin]) -> list[Plugin]:
        """Take in declared kinds, then fail each plugin whose kinds clash or whose components have none."""
        settled = []
        for plugin in plugins:
            clash = [kind.name for kind in plugin.kinds if self.kinds.get(kind.name, kind) != kind]
            if clash:
                plugin = plugin.failed(f"it declares the kind {clash[0]!r} anew, with another contract")
            self.kinds.update({kind.name: kind for kind in plugin.kinds})
            settled.append(plugin)
        return [self._without_undeclared_kinds(plugin) for plugin in settled]

    def _without_undeclared_kinds(self, plugin: Plugin) -> Plugin:
        for component in plugin.components:
            if component.kind not in self.kinds:
                hint = did_you_mean(component.kind, self.kinds)
                return plugin.failed(
                    f"{component.reference} is of an undeclared kind {component.kind!r}{hint}"
                )
        return plugin

    def _loaded(self) -> Iterator[Plugin]:
        return (plugin for plugin in self.plugins if plugin.status == "loaded")

    @property
    def failures(self) -> list[Plugin]:
        """The plugins that were skipped because something was wrong with them."""
        return [plugin for plugin in self.plugins if plugin.status == "failed"]

    @property
    def commands(self) -> list[tuple[Command, Plugin]]:
        """Subcommands that plugins add; of two with one name, that of the plugin first by name."""
        first: dict[str, tuple[Command, Plugin]] = {}
        for plugin in self._loaded():
            for command in plugin.commands:
                first.setdefault(command.name, (command, plugin))
        return list(first.values())

    def entries(self, kind: str | None = None) -> list[Entry]:
        """Everything registered, of one kind or of all, sorted by kind and name.

        Raises:
            UnknownNameError: no such kind.
        """
        if kind is not None and kind not in self.kinds:
            raise UnknownNameError(
                f"no such kind: {kind!r}{did_you_mean(kind, self.kinds)} (kinds: {', '.join(self.kinds)})"
            )
        order = list(self.kinds)
        chosen = [entry for entry in self._entries if kind in (None, entry.component.kind)]
        return sorted(chosen, key=lambda entry: (order.index(entry.component.kind), entry.component.name))

    def find(self, reference: str) -> Entry:
        """Look up ``kind/name`` or ``kind/plugin:name``.

        Raises:
            UnknownNameError: nothing of that name; the message offers close matches.
            AmbiguousNameError: two plugins claim the short name; the message gives both full references.
        """
        kind, slash, name = reference.partition("/")
        if not slash:
            raise UnknownNameError(f"a reference is kind/name, like 'optimizer/adamw', got {reference!r}")
        plugin, colon, bare = name.rpartition(":")
        same_kind = self.entries(kind)
        found = [e for e in same_kind if e.component.name == bare and (not colon or e.plugin.name == plugin)]
        if len(found) == 1:
            return found[0]
        if found:
            both = " or ".join(entry.full_reference for entry in found)
            raise AmbiguousNameError(f"{reference!r} is claimed by {len(found)} plugins: write {both}")
        raise UnknownNameError(self._unknown(kind, name, same_kind))

    def find_meant(self, kind: str, name: str) -> Entry | None:
        """The one component that a wrong name comes close to; None where that is not plain."""
        same_kind = self.entries(kind)
        bare = name.removeprefix(f"{kind}/").rpartition(":")[2]
        close = close_matches(bare, [entry.component.name for entry in same_kind])
        found = [entry for entry in same_kind if entry.component.name in close]
        return found[0] if len(found) == 1 else None

    def find_default(self, kind: str, name: str, plugin: str | None = None) -> Entry:
        """What code means by a name, where two plugins may have it by now.

        Args:
            kind: of the component.
            name: as the code has it.
            plugin: that the code is of; None for Graftwork's own.

        Raises:
            UnknownNameError: nothing has it.
            AmbiguousNameError: several plugins have it, and none is that one or Graftwork's own.
        """
        found = [entry for entry in self.entries(kind) if entry.component.name == name]
        own = [entry for entry in found if entry.plugin.name == plugin] or [
            entry for entry in found if entry.plugin.distribution == package_of(kind, name)
        ]
        return own[0] if own else self.find_in(kind, name)

    def name_of(self, entry: Entry) -> str:
        """What a recipe calls a component by: its name, with its plugin where several have it."""
        alone = self._claims[entry.component.reference] == 1
        return entry.component.name if alone else f"{entry.plugin.name}:{entry.component.name}"

    def find_anywhere(self, name: str) -> Entry:
        """Look up a reference, or the name of a recipe, or one that components of a single kind have.

        Raises:
            UnknownNameError: nothing of that name; the message offers close matches.
            AmbiguousNameError: several have it; the message gives their references.
        """
        if "/" in name:
            return self.find(name)
        plugin, colon, bare = name.rpartition(":")
        found = [
            entry
            for entry in self._entries
            if entry.component.name == bare and (not colon or entry.plugin.name == plugin)
        ]
        # A recipe is what commands take by its bare name.
        recipes = [entry for entry in found if entry.component.kind == Kind.RECIPE]
        if len(recipes or found) == 1:
            return (recipes or found)[0]
        if found:
            references = [f"{entry.component.kind}/{self.name_of(entry)}" for entry in found]
            raise AmbiguousNameError(f"{name!r} is the name of {len(found)}: write {' or '.join(references)}")
        for kind in kinds_with(bare):  # of a package of ours that is not here
            self.find(f"{kind}/{name}")
        known = [entry.component.name for entry in self._entries]
        close = close_matches(bare, known)
        references = [
            f"{entry.component.kind}/{self.name_of(entry)}"
            for entry in self._entries
            if entry.component.name in close
        ]
        hint = f", did you mean {' or '.join(dict.fromkeys(references))}?" if references else ""
        raise UnknownNameError(f"nothing is called {name!r}{hint} (`graftwork list` shows all)")

    def _unknown(self, kind: str, name: str, same_kind: Sequence[Entry]) -> str:
        bare = name.rpartition(":")[2]
        elsewhere = [entry.full_reference for entry in same_kind if entry.component.name == bare]
        package = package_of(kind, bare)
        if elsewhere:  # the plugin is another one, as where a component has moved, or is not installed
            absent = package if package == f"graftwork-{name.rpartition(':')[0].rpartition('/')[2]}" else None
            why = f"{absent} has it, {self._absence_of(absent)}; here" if absent else "it"
            return f"no {kind} called {name!r}: {why} is {' or '.join(elsewhere)}"
        if package is not None:
            return f"{kind}/{bare} comes with {package}, {self._absence_of(package)}"
        if not same_kind:
            package = package_with(kind)
            hint = f"; {package} brings some, {self._absence_of(package)}" if package else ""
            return f"no {kind} called {name!r}: no installed plugin registers any {kind}{hint}"
        close = close_matches(bare, [entry.component.name for entry in same_kind])
        # As they may be written: a name that several plugins have would be refused in turn.
        meant = [
            repr(self.name_of(entry)) for one in close for entry in same_kind if entry.component.name == one
        ]
        hint = f", did you mean {' or '.join(meant)}?" if meant else ""
        return f"no {kind} called {name!r}{hint} (`graftwork list {kind}` shows all)"

    def _absence_of(self, package: str) -> str:
        """Why nothing of one of Graftwork's own packages is here."""
        present = next((plugin for plugin in self.plugins if plugin.distribution == package), None)
        if present is None:
            return f"which is not installed; {installing(package)}"
        if present.status == "loaded":
            return f"and {present.label} does not have it: upgrade {package}"
        return f"and {present.label} is {present.status}; see `graftwork doctor`"

    def package_of_command(self, word: str) -> str | None:
        """A sentence on the package that would bring a command, None where none of ours does."""
        package = package_of(COMMAND, word)
        return package and f"the command {word!r} comes with {package}, {self._absence_of(package)}"

    def find_in(self, kind: str, name: str) -> Entry:
        """Look up a name where its kind is known: ``name``, ``plugin:name`` or ``kind/plugin:name``."""
        return self.find(f"{kind}/{name.removeprefix(f'{kind}/')}")

    def contested(self) -> list[str]:
        """Short references that more than one plugin claims."""
        return [reference for reference, count in self._claims.items() if count > 1]

    def resolve(self, entry: Entry) -> Any:
        """Import an entry's target and check it against the contract of its kind.

        Raises:
            GraftworkError: the import failed; the message names the distribution and the cause.
            MissingExtraError: it needs something optional that is not installed.
            ContractError: the target lacks what its kind promises.
        """
        component = entry.component
        component.require_extras()
        given = entry.plugin.objects
        target = given[component.target] if component.target in given else _imported(entry)
        check_contract(self.kinds[component.kind], component, target)
        return target


def _imported(entry: Entry) -> Any:
    component = entry.component
    module_name, _, attribute = component.target.partition(":")
    try:
        with plugin_code():
            target: Any = import_module(module_name)
            for part in attribute.split("."):
                target = getattr(target, part)
    except Exception as error:
        raise GraftworkError(
            f"{component.reference}: {component.target} of {entry.plugin.label} cannot be imported: "
            f"{cause_of(error)}"
        ) from error
    return target


def check_contract(kind: Kind, component: Component, target: Any) -> None:
    """Raise :class:`ContractError` where a class target visibly breaks the contract of its kind."""
    if not callable(target):
        raise ContractError(
            f"{component.reference}: {component.target} must be callable, got {type(target).__name__}"
        )
    if isinstance(target, type) and (missing := kind.lacking(target)):
        raise ContractError(
            f"{component.reference}: {component.target} lacks {', '.join(missing)}; the contract of "
            f"{kind.name} is: {kind.contract}"
        )
    if kind.name == Kind.OPTIMIZER and getattr(target, "closure", None) not in CLOSURES:
        raise ContractError(
            f"{component.reference}: closure must be None, 'loss' or 'gradient', got {target.closure!r}"
        )


@cache
def _installed() -> Registry:
    return Registry.discover()


# Of this thread: what one training is given, another beside it does not see.
_in_use: ContextVar[Registry | None] = ContextVar("registry in use", default=None)


def get_registry() -> Registry:
    """The installed plugins, loaded once per process; with what was added to them for the work at hand."""
    return _in_use.get() or _installed()


get_registry.cache_clear = _installed.cache_clear  # type: ignore[attr-defined]


@contextmanager
def registry_in_use(registry: Registry) -> Iterator[None]:
    """Have :func:`get_registry` return another within the block, in this thread."""
    token = _in_use.set(registry)
    try:
        yield
    finally:
        _in_use.reset(token)
