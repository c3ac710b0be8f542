"""Code that a run was trained with and that no installed package holds: plugin files, and objects of Python.

A run keeps what they were called and the digests of the files, so that whoever goes on with it is told what
is missing, or is another.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from graftwork import GraftworkError, RecipeError, UnknownNameError, get_registry
from graftwork_trainer.plain_json import read_json

FILES, OBJECTS = "plugin_files", "python_objects"


def describe_own_code() -> dict[str, Any]:
    """Plain data for ``environment.json``; nothing where all code is of installed packages."""
    described = {FILES: _digests(), OBJECTS: _objects()}
    return {key: table for key, table in described.items() if table}


def differences(environment: Mapping[str, Any]) -> Iterator[str]:
    """What of a run's own code is another now, or is not here.

    Args:
        environment: as the run keeps it.
    """
    yield from _absent(environment)
    files = _digests()
    for name, digest in _table(environment, FILES).items():
        if files.get(name, digest) != digest:
            yield f"--plugin {name} was sha256 {digest[:12]}… and is {files[name][:12]}…"


@contextmanager
def absence_named(run: Path) -> Iterator[None]:
    """Have a name that a run's recipe does not find be answered with the code that it needs.

    Args:
        run: its directory.

    Raises:
        GraftworkError: in place of the unknown name; the message says how to give what is missing.
    """
    try:
        yield
    except (RecipeError, UnknownNameError) as error:
        environment = environment_of(run)
        absent = list(_absent(environment))
        if not absent:
            raise
        raise GraftworkError(f"{run}: {'; '.join(absent)}; {_way_on(run, environment)}") from error


def environment_of(run: Path) -> Mapping[str, Any]:
    """What a run keeps of where it was trained; nothing where that cannot be read."""
    environment: object = None
    with suppress(GraftworkError, OSError):
        environment = read_json(run / "environment.json")
    return environment if isinstance(environment, Mapping) else {}


def _absent(environment: Mapping[str, Any]) -> Iterator[str]:
    here = {**_digests(), **_objects()}
    for name, digest in _table(environment, FILES).items():
        if name not in here:
            yield f"it was trained with --plugin {name} (sha256 {digest[:12]}…), which is not given now"
    for reference, what in _table(environment, OBJECTS).items():
        if reference not in here:
            yield f"it was trained with {reference} ({what}), which is not given now"


def _way_on(run: Path, environment: Mapping[str, Any]) -> str:
    if _table(environment, OBJECTS):
        return "go on in Python: graftwork_trainer.train(..., resume=True) with the same objects"
    files = [argument for name in _table(environment, FILES) for argument in ("--plugin", name)]
    return f"give it again: `{shlex.join(['graftwork', *files, 'train', '--resume', str(run)])}`"


def _digests() -> dict[str, str]:
    plugins = get_registry().plugins
    return {plugin.file.path.name: plugin.file.sha256 for plugin in plugins if plugin.file is not None}


def _objects() -> dict[str, str]:
    return {
        f"{component.kind}/{plugin.name}:{component.name}": component.summary
        for plugin in get_registry().plugins
        for component in plugin.components
        if component.target in plugin.objects
    }


def _table(environment: Mapping[str, Any], key: str) -> dict[str, str]:
    """One of the two tables, as far as it holds what can be told: a run may come from anybody."""
    table = environment.get(key)
    pairs = table.items() if isinstance(table, Mapping) else ()
    return {name: value for name, value in pairs if isinstance(value, str) and (name + value).isprintable()}
