"""Descriptions of components, kept between calls: to read a signature takes an import of torch.

What is kept counts only as long as nothing that it was read from has changed: every file of every module
that was loaded then (but for the standard library), every folder that modules are looked for in, the
interpreter, the plugin's version and what it registers. A file is changed where its size or one of its times
is another. What a module computes from the environment or the machine is not seen.

Nothing is kept of plugin files, nothing where Python was told to write no bytecode, and nothing that may
have changed while it was read. A cache that cannot be read or written is none.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import sysconfig
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from graftwork import process
from graftwork.registry import Entry, Registry

# Times of files are as coarse as two seconds on some file systems.
_COARSE_SECONDS = 2.0

Stamp = list[int]


@dataclass(frozen=True, slots=True)
class DescriptionCache:
    """A folder of descriptions.

    Args:
        folder: need not exist; None for a cache that has and keeps nothing.
        started: when this process began to load modules, in seconds of ``time.time()``. What has changed
            since then may be loaded as it was before.
    """

    folder: Path | None
    started: float

    @classmethod
    def of_this_process(cls, registry: Registry) -> DescriptionCache:
        """The user's, for a process that is a call of the command line without plugin files."""
        from graftwork.realdata import cache_directory

        if process.started is None or any(plugin.file is not None for plugin in registry.plugins):
            return cls(None, 0.0)
        with suppress(RuntimeError):  # nobody's home
            return cls(cache_directory("descriptions"), process.started)
        return cls(None, 0.0)

    def kept(self, entry: Entry, registry: Registry) -> Mapping[str, Any] | None:
        """What was kept of a component, where it still holds."""
        if self.folder is None:
            return None
        try:
            record = json.loads((self.folder / _file_name(entry)).read_text("utf-8"))
            holds = record["of"] == _identity(entry, registry) and all(
                _stamp(f"{folder}{os.sep}{name}") == stamp
                for folder, stamps in record["files"].items()
                for name, stamp in stamps.items()
            )
            return record["description"] if holds and isinstance(record["description"], dict) else None
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None

    def keep(self, entry: Entry, registry: Registry, description: Mapping[str, Any]) -> None:
        """Keep what has just been read, unless something of it is too new to be sure."""
        if self.folder is None or sys.dont_write_bytecode:
            return
        files: dict[str, dict[str, Stamp]] = {}
        latest = int((self.started - _COARSE_SECONDS) * 1e9)
        for path in _loaded_from():
            stamp = _stamp(path)
            if not stamp or max(stamp[1:]) >= latest:
                return
            folder, _, name = path.rpartition(os.sep)
            files.setdefault(folder, {})[name] = stamp
        record = {"of": _identity(entry, registry), "files": files, "description": description}
        kept = self.folder / _file_name(entry)
        partial = kept.with_suffix(f".partial-{os.getpid()}")
        with suppress(OSError, TypeError, ValueError):
            text = json.dumps(record)
            self.folder.mkdir(parents=True, exist_ok=True)
            partial.write_text(text, "utf-8")
            partial.replace(kept)


def _loaded_from() -> set[str]:
    """The files of all modules that are loaded, and the folders that modules are looked for in."""
    standard = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib"))
    packages = tuple(sysconfig.get_path(name) + os.sep for name in ("purelib", "platlib"))
    # Not by __file__, which what no file holds may have too.
    specs = [getattr(module, "__spec__", None) for module in list(sys.modules.values())]
    files = {spec.origin for spec in specs if spec is not None and spec.has_location and spec.origin}
    foreign = {file for file in files if file.startswith(packages) or not file.startswith(standard)}
    folders = (path for path in sys.path if Path(path).is_dir())
    return {str(Path(path).absolute()) for path in (*foreign, *folders) if path}


def _stamp(path: str) -> Stamp:
    """Size, and when the content and the file itself last changed; empty where there is none."""
    try:
        status = Path(path).stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _file_name(entry: Entry) -> str:
    """One for each component of each environment, so that what is out of date is written over."""
    key = f"{sys.prefix}\n{sys.version}\n{entry.full_reference}"
    return f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _identity(entry: Entry, registry: Registry) -> Mapping[str, Any]:
    """What says which component it is, and how its signature is read."""
    plugin, component = entry.plugin, entry.component
    return {
        "python": [sys.version, sys.executable],
        "path": list(sys.path),
        "plugin": [plugin.distribution, plugin.version, plugin.module],
        "component": json.loads(json.dumps(asdict(component))),
        "kind": json.loads(json.dumps(asdict(registry.kinds[component.kind]))),
    }
