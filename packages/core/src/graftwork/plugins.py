"""Finding and loading plugins one by one, so that a broken one harms nobody else.

A plugin is an entry point of the group ``graftwork`` whose module implements the hooks of
:mod:`graftwork.hookspecs`. Import, hook validation and the hooks' own bodies are isolated per plugin, and a
plugin is taken whole or not at all.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar

import pluggy

from graftwork import hookspecs
from graftwork.component import Command, Component, Kind
from graftwork.plugin_code import cause_of, plugin_code
from graftwork.ranges import allows
from graftwork.registration import marked_in

_CORE_REQUIREMENT = re.compile(r"graftwork(?![\w.-])(?:\[[^\]]*\])?(?P<rest>.*)", re.IGNORECASE)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PluginFile:
    """A file that the command line named as a plugin.

    Args:
        path: as it was named.
        sha256: of its bytes, hexadecimal.
    """

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point, or a file in its place, and what came of it.

    ``status`` is ``loaded``, ``failed`` (``cause`` says why) or ``disabled`` (by the environment). Of a file
    the distribution is its path, and the version the beginning of its digest. ``objects`` are targets that
    were given in place of an import path, each by what its component names as target.
    """

    name: str
    distribution: str
    version: str
    module: str
    status: Literal["loaded", "failed", "disabled"] = "loaded"
    cause: str | None = None
    seconds: float = 0.0
    imported_torch: bool = False
    kinds: tuple[Kind, ...] = ()
    components: tuple[Component, ...] = ()
    commands: tuple[Command, ...] = ()
    file: PluginFile | None = None
    objects: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def label(self) -> str:
        """Name, distribution and version, for messages."""
        return f"plugin {self.name!r} of {self.distribution} {self.version}"

    def failed(self, cause: str) -> Plugin:
        """The same plugin, registering nothing, with the reason."""
        return replace(self, status="failed", cause=cause, kinds=(), components=(), commands=())


@dataclass(slots=True)
class Selection:
    """Which plugins the environment asks for: only some, or all but some."""

    only: frozenset[str] | None = None
    without: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Selection:
        def names(variable: str) -> frozenset[str]:
            return frozenset(
                part.strip() for part in environment.get(variable, "").split(",") if part.strip()
            )

        return cls(names("GRAFTWORK_PLUGINS") or None, names("GRAFTWORK_DISABLE"))

    def allows(self, plugin: str) -> bool:
        return plugin not in self.without and (self.only is None or plugin in self.only)


def load_plugins(
    entry_points: Iterable[metadata.EntryPoint], selection: Selection, *, strict: bool
) -> list[Plugin]:
    """Load every selected entry point.

    Args:
        entry_points: those of the group ``graftwork``.
        selection: what the environment allows.
        strict: raise what a plugin raised, instead of recording it (for plugin authors and CI).
    """
    manager = new_manager()
    plugins: list[Plugin] = []
    for entry_point in sorted(entry_points, key=lambda point: (point.name, point.value)):
        plugin, requirements = _describe(entry_point)
        if not selection.allows(plugin.name):
            plugins.append(replace(plugin, status="disabled"))
            continue
        started, torch_before = time.perf_counter(), "torch" in sys.modules
        try:
            _check_core_range(requirements)
            if taken := next((p for p in plugins if p.name == plugin.name and p.status == "loaded"), None):
                raise ValueError(
                    f"the plugin name {plugin.name!r} is taken by {taken.distribution} {taken.version}"
                )
            with plugin_code():
                plugin = collect(manager, entry_point.load(), plugin)
        except Exception as error:
            if strict:
                raise
            plugin = plugin.failed(cause_of(error))
        plugins.append(
            replace(
                plugin,
                seconds=time.perf_counter() - started,
                imported_torch="torch" in sys.modules and not torch_before,
            )
        )
    return plugins


def _describe(entry_point: metadata.EntryPoint) -> tuple[Plugin, Sequence[str]]:
    """A plugin and what its distribution requires, as far as its metadata can be read."""
    about: Any = None
    if entry_point.dist is not None:
        # Each look at a distribution's metadata parses the file anew.
        with suppress(OSError, ValueError):
            about = entry_point.dist.metadata
    name, version = (about["Name"], about["Version"]) if about else (None, None)
    plugin = Plugin(entry_point.name, name or "an unknown distribution", version or "0", entry_point.value)
    return plugin, (about.get_all("Requires-Dist") or []) if about else []


@cache
def core_version() -> str:
    """Of the installed distribution ``graftwork``; reading it parses a file."""
    return metadata.version("graftwork")


def _check_core_range(requirements: Iterable[str]) -> None:
    """Compare the range that a plugin's distribution declares on graftwork with the installed version."""
    installed = core_version()
    for line in requirements:
        named = _CORE_REQUIREMENT.match(line)
        if named and not allows(named["rest"], line, installed):
            wanted = named["rest"].partition(";")[0].strip()
            raise RuntimeError(f"wants graftwork{wanted}, installed is graftwork {installed}")


def new_manager() -> pluggy.PluginManager:
    """One that knows the hooks, and no plugin yet."""
    manager = pluggy.PluginManager("graftwork")
    manager.add_hookspecs(hookspecs)
    return manager


def collect(manager: pluggy.PluginManager, module: ModuleType, plugin: Plugin) -> Plugin:
    """Read a plugin's hooks to their end, and what it marks, before any of it counts."""
    manager.register(module, name=plugin.name)
    try:
        manager.check_pending()
        collected = replace(
            plugin,
            kinds=_read_hook(manager, module, "graftwork_kinds", Kind),
            components=(
                *_read_hook(manager, module, "graftwork_components", Component),
                *marked_in(module),
            ),
            commands=_read_hook(manager, module, "graftwork_commands", Command),
        )
        if not (collected.kinds or collected.components or collected.commands):
            raise ValueError(
                f"{module.__name__} implements none of the hooks graftwork_{{components,kinds,commands}}, "
                "and marks nothing with graftwork.register"
            )
        _refuse_repeats("component", (component.reference for component in collected.components))
        _refuse_repeats("kind", (kind.name for kind in collected.kinds))
        _refuse_repeats("command", (command.name for command in collected.commands))
    except BaseException:
        manager.unregister(module)
        raise
    return collected


def _read_hook(
    manager: pluggy.PluginManager, module: ModuleType, hook: str, expected: type[T]
) -> tuple[T, ...]:
    caller: Any = getattr(manager.hook, hook)
    items: list[T] = []
    for implementation in caller.get_hookimpls():
        if implementation.plugin is module:
            yielded = implementation.function()
            if not isinstance(yielded, Iterable):
                raise TypeError(f"{hook}() must yield {expected.__name__}s, got {yielded!r}")
            for item in yielded:
                if not isinstance(item, expected):
                    raise TypeError(f"{hook}() must yield {expected.__name__}, got {item!r}")
                items.append(item)
    return tuple(items)


def _refuse_repeats(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"it registers the {what} {name} twice")
        seen.add(name)
