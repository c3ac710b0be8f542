"""A file that the command line names as a plugin: ``graftwork --plugin mine.py train recipe.toml``.

Naming it is what permits it to run, so nothing else does: no recipe, no run and no environment variable. It
is a module by its own name, and its folder stands at the end of ``sys.path``: a helper beside it can be
imported, a file beside it that is called like an installed package takes nobody's place, and processes that
are started with ``spawn`` or ``forkserver`` find both.
"""

from __future__ import annotations

import hashlib
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib import invalidate_caches
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from keyword import iskeyword
from pathlib import Path
from types import ModuleType

from graftwork.errors import GraftworkError
from graftwork.plugin_code import PluginExit, cause_of, plugin_code
from graftwork.plugins import Plugin, PluginFile, collect, new_manager
from graftwork.registry import get_registry, registry_in_use


@contextmanager
def plugin_files(named: Sequence[str]) -> Iterator[None]:
    """Have files be plugins, beside the installed ones, within the block.

    Args:
        named: as on the command line; one that is named twice, in whatever way, counts once.

    Raises:
        GraftworkError: one is no Python file, its name is taken, or its code fails: the message says on which
            line.
    """
    with ExitStack() as undo:
        for name in _once(named):
            plugin = undo.enter_context(_loaded(Path(name)))
            registry = get_registry().extended(plugin)
            for failure in registry.failures:
                if failure.file == plugin.file:
                    raise GraftworkError(f"--plugin {name}: {failure.cause}")
            undo.enter_context(registry_in_use(registry))
        yield


def plugin_file_arguments() -> list[str]:
    """What another ``graftwork`` must be given to have the same plugin files."""
    files = [plugin.file.path for plugin in get_registry().plugins if plugin.file is not None]
    return [argument for path in files for argument in ("--plugin", str(path))]


@contextmanager
def _loaded(path: Path) -> Iterator[Plugin]:
    started = time.perf_counter()
    source = _read(path)
    file = PluginFile(path, hashlib.sha256(source).hexdigest())
    # A link leads to the file whose name and folder count, as for Python itself.
    home = path.resolve()
    plugin = Plugin(home.stem, str(path), f"sha256:{file.sha256[:12]}", home.stem, file=file)
    folder = str(home.parent)
    appended = folder not in sys.path
    if appended:
        sys.path.append(folder)
    try:
        _refuse_taken_name(plugin.name, path)
        module = _module_at(home)
        try:
            with plugin_code():
                # What has been read, and neither what is there by now nor what Python keeps compiled.
                exec(compile(source, str(home), "exec", dont_inherit=True), vars(module))
                collected = collect(new_manager(), module, plugin)
        except Exception as error:
            raise GraftworkError(f"--plugin {path}: {_place_in(home, error)}{cause_of(error)}") from error
        _refuse_taken_commands(collected)
        yield replace(collected, seconds=time.perf_counter() - started)
    finally:
        sys.modules.pop(home.stem, None)
        if appended and folder in sys.path:
            sys.path.remove(folder)


def _once(named: Sequence[str]) -> Iterator[str]:
    """Each file as it was named first."""
    seen: set[Path] = set()
    for name in named:
        if (home := Path(name).resolve()) not in seen:
            seen.add(home)
            yield name


def _read(path: Path) -> bytes:
    home = path.resolve()
    if home.suffix != ".py":
        raise GraftworkError(f"--plugin {path}: must be a Python file, whose name ends in .py")
    if not home.stem.isidentifier() or iskeyword(home.stem):
        raise GraftworkError(
            f"--plugin {path}: must have a name that Python can import, of letters, digits and underscores; "
            "rename it"
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise GraftworkError(f"--plugin {path}: cannot be read: {error.strerror}") from error


def _refuse_taken_commands(plugin: Plugin) -> None:
    """See that a command of the file is called, and not one of the same name."""
    owners = {command.name: owner for command, owner in get_registry().commands}
    for command in plugin.commands:
        if (owner := owners.get(command.name)) is not None:
            raise GraftworkError(
                f"--plugin {plugin.distribution}: the command {command.name!r} is taken by "
                f"{owner.distribution} {owner.version}; give it another name"
            )


def _refuse_taken_name(name: str, path: Path) -> None:
    """See that the module's name leads to the file, here and in processes that are started."""
    taken = next((plugin for plugin in get_registry().plugins if plugin.name == name), None)
    if taken is not None:
        raise GraftworkError(
            f"--plugin {path}: the plugin name {name!r} is taken by {taken.distribution} {taken.version}; "
            "rename the file"
        )
    invalidate_caches()
    try:
        spec = find_spec(name)
    except ValueError:  # a module like __main__, which has none
        origin: str | None = "the running program"
    else:
        origin = str(path.resolve()) if spec is None else spec.origin
    if origin != str(path.resolve()):
        raise GraftworkError(
            f"--plugin {path}: the module name {name!r} is taken by {origin or 'another folder'}; "
            "rename the file"
        )


def _module_at(path: Path) -> ModuleType:
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None  # its name ends in .py
    module = module_from_spec(spec)
    sys.modules[path.stem] = module
    return module


def _place_in(path: Path, error: BaseException) -> str:
    """The line, of the file or of one beside it, that an error came from, where it does not say so itself."""
    raised = error.__cause__ if isinstance(error, PluginExit) else error
    frames = traceback.extract_tb(raised.__traceback__ if raised is not None else None)
    own = [frame for frame in frames if Path(frame.filename).parent == path.parent]
    if not own:
        return ""
    file = "" if own[-1].filename == str(path) else f"{Path(own[-1].filename).name}, "
    return f"{file}line {own[-1].lineno}: "
