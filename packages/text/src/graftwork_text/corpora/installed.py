"""Source files of what every installation has: the standard library, and installed modules."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from graftwork.errors import GraftworkError

STANDARD_LIBRARY = "stdlib"
_NO_PROSE_IN = frozenset({"__pycache__", "dist-packages", "idlelib", "site-packages", "test", "tests"})


def source_of(module: str) -> Path:
    """The folder or file of a module's source; nothing is imported.

    Args:
        module: importable; ``stdlib`` is the whole standard library.

    Raises:
        GraftworkError: it is not installed or has no source files.
    """
    if module == STANDARD_LIBRARY:
        return Path(sysconfig.get_path("stdlib"))
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None or not found.origin or not found.origin.endswith(".py"):
        raise GraftworkError(f"module {module!r} is not installed here or has no Python source")
    return Path(found.origin).parent if found.submodule_search_locations else Path(found.origin)


def version_of(module: str) -> str:
    """Which version of a module is installed.

    Raises:
        GraftworkError: it is not known.
    """
    top = module.partition(".")[0]
    if top == STANDARD_LIBRARY or top in sys.stdlib_module_names:
        return f"{platform.python_implementation()} {platform.python_version()}"
    try:
        return importlib.metadata.version(top)
    except importlib.metadata.PackageNotFoundError:
        raise GraftworkError(f"the version of module {module!r} is not known") from None


def source_files(root: Path) -> Iterator[Path]:
    """Every source file below a folder (or the file itself) but tests, always in the same order."""
    if root.is_file():
        yield root
        return
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(set(subfolders) - _NO_PROSE_IN)
        yield from (Path(folder, name) for name in sorted(names) if name.endswith(".py"))
